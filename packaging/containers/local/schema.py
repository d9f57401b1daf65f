"""Writes tests/data/kubernetes-VERSION.json, by which a test judges our Kubernetes manifests.

It is what a cluster of that version accepts, strictly: the definitions of the kinds below and all
that they refer to, without descriptions. They come from the PyPI package kubernetes-validate, which
is too large for the dev extra (108 MB installed). To go to another version, in a throw-away
environment:

    pip install kubernetes-validate
    python packaging/containers/local/schema.py 1.37.0
"""

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[3] / "tests" / "data"
KINDS = (
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.core.v1.Service",
)


def without_words(part: Any, *, names: bool = False) -> Any:
    """The schema without what judges nothing. names: the keys are names of fields."""
    if isinstance(part, dict):
        return {
            key: without_words(value, names=key in ("properties", "$defs"))
            for key, value in part.items()
            if names or not (key == "description" or key.startswith("x-kubernetes-"))
        }
    return [without_words(each) for each in part] if isinstance(part, list) else part


def closure(definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions of `KINDS`, and those that they need."""
    found: dict[str, Any] = {}
    wanted = list(KINDS)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = without_words(definitions[name])
            wanted += re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(found[name]))
    return dict(sorted(found.items()))


def main(version: str) -> None:
    """Write the file of one version."""
    package = files("kubernetes_validate") / "kubernetes-json-schema"
    source = package / f"v{version}-local-strict" / "_definitions.json"
    needed = closure(json.loads(source.read_text(encoding="utf-8"))["$defs"])
    kinds = {name.rpartition(".")[2]: {"$ref": f"#/$defs/{name}"} for name in KINDS}
    target = DATA / f"kubernetes-{version}.json"
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in needed.items()]
    target.write_text(
        f'{{"kinds": {json.dumps(kinds)},\n"$defs": {{\n' + ",\n".join(lines) + "\n}}\n",
        encoding="utf-8",
    )
    print(f"{target}: {len(needed)} definitions, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
