"""Shows the API's OpenAPI description as an HTML page without scripts or remote resources."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
section { border: 1px solid #8886; border-radius: 8px; padding: .5rem 1rem; margin: 1rem 0 }
h2 { font-size: 1rem; margin: .4rem 0 } code, pre { font-size: .9rem }
pre { overflow: auto; background: #8882; padding: .75rem; border-radius: 6px }
.method { display: inline-block; min-width: 3.5rem; font-weight: 600 }
table { border-collapse: collapse } td { padding: .1rem .8rem .1rem 0; vertical-align: top }
"""


def page_of(schema: dict[str, Any]) -> str:
    """The OpenAPI description ``schema`` as HTML."""
    info = schema["info"]
    sections = "".join(
        _section(path, method, operation, schema)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(info['description'])}</p>"
        f'<p>OpenAPI: <a href="/openapi.json">/openapi.json</a></p>{sections}</html>'
    )


def _section(path: str, method: str, operation: dict[str, Any], schema: dict[str, Any]) -> str:
    token = " <small>(operator's token)</small>" if operation.get("security") else ""
    return (
        f'<section><h2><span class="method">{method.upper()}</span>'
        f" <code>{escape(path)}</code>{token}</h2>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{_body(operation, schema)}<table>{''.join(_answers(operation))}</table></section>"
    )


def _body(operation: dict[str, Any], schema: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return ""
    name = content["schema"]["$ref"].rpartition("/")[2]
    body = schema["components"]["schemas"][name]
    shown = body.get("examples", [body.get("properties", {})])[0]
    return f"<pre>{escape(json.dumps(shown, indent=2))}</pre>"


def _answers(operation: dict[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        text = escape(answer["description"])
        yield f"<tr><td><code>{escape(status)}</code></td><td>{text}</td></tr>"
