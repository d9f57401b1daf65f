"""Broad excepts are few, and each says why it is one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "main.py"])
BROAD = ("Exception", "BaseException")
MOST = 10
"""At the boundary of a process or a task, or in the one adapter of a library that raises
anything. A new one takes the place of an old one, or shares it (see `app.common.background`)."""


class BroadExcept(NamedTuple):
    """Where one is, and the comment that gives its reason."""

    place: str
    reason: str


def broad_excepts(source: Path, text: str) -> Iterator[BroadExcept]:
    """Those of a source; ``suppress(Exception)`` is one as well."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ExceptHandler(type=caught) if caught is None or is_broad(caught):
                line = node.lineno
            case ast.Call(args=args, func=ast.Name(id="suppress") | ast.Attribute(attr="suppress")):
                if not any(map(is_broad, args)):
                    continue
                line = node.lineno
            case _:
                continue
        yield BroadExcept(f"{source}:{line}", reason_of(lines, line))


def is_broad(caught: ast.expr) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in BROAD for name in names)


def reason_of(lines: list[str], number: int) -> str:
    """The comment on the line or the one before, without the linter's code."""
    before = lines[number - 2].strip() if number > 1 else ""
    comments = [before] if before.startswith("#") else []
    comments += lines[number - 1].partition("#")[1:]
    return re.sub(r"#|noqa: \w+", "", " ".join(comments)).strip()


def in_the_house() -> list[BroadExcept]:
    return [
        found
        for source in SOURCES
        for found in broad_excepts(source.relative_to(ROOT), source.read_text(encoding="utf-8"))
    ]


def test_broad_excepts_are_few() -> None:
    places = [found.place for found in in_the_house()]
    assert len(places) <= MOST, "\n".join(places)


def test_each_says_why() -> None:
    assert [found.place for found in in_the_house() if len(found.reason.split()) < 3] == []


def test_all_kinds_are_found() -> None:
    text = """
import contextlib
try: pass
except Exception: pass
try: pass
except (OSError, BaseException): pass  # noqa: BLE001
try: pass
# the boundary of a task
except: pass
with contextlib.suppress(Exception): pass
try: pass
except OSError: pass  # a narrow one
"""
    found = list(broad_excepts(Path("x.py"), text))
    assert [each.reason for each in found] == ["", "", "the boundary of a task", ""]
