"""Texts of others reach Qt, a terminal and a table only through the places that make them plain."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "main.py"])

QT, LABELS = "ui/style/plain.py", "ui/widgets/labels.py"
ALLOWED: dict[str, set[str]] = {
    # Qt guesses whether these texts are HTML
    "setToolTip": {QT},
    "ToolTipRole": {"ui/models/rows_model.py"},
    "QToolTip": set(),
    "setWhatsThis": set(),
    "QLabel": {LABELS},
    "QMessageBox": {QT},
    **{f"QMessageBox.{kind}": set() for kind in ("about", "critical", "information", "question")},
    "QMessageBox.warning": set(),
    "QErrorMessage": set(),
    # these read HTML
    "QTextEdit": set(),
    "QTextBrowser": set(),
    "QTextDocument": set(),
    "setHtml": set(),
    "insertHtml": set(),
    "appendHtml": set(),
    "setMarkdown": set(),
    # pyqtgraph draws these as HTML
    "TextItem": set(),
    "LabelItem": set(),
    "addLegend": set(),
    "LegendItem": set(),
    # a terminal obeys control characters, a spreadsheet formulas
    "print": set(),
    "sys.stdout": {
        "app/headless/commanding.py",  # JSON, and texts on one line
        "app/headless/generating.py",  # what a model writes, through several_lines
        "app/headless/organising.py",  # labels that the organiser wrote, without line breaks
        "app/contributions/export.py",
        "app/headless/exporting.py",  # JSON, and texts on one line
        "app/headless/run.py",  # gives it to the display
        "app/headless/one_time.py",  # names of runs, on one line
        "app/trainer/process.py",  # the pipe to the app
    },
    "sys.stderr": {"app/headless/display.py", "app/trainer/process.py"},
    "csv": {
        "app/contributions/export.py",
        "app/curves/export.py",  # numbers, and names of our own
        "app/swarm/fleet_table.py",
        "app/archive/export.py",
        "ui/widgets/charts/value_table.py",  # through cell
    },
}
"""From a name to the files that may use it."""


def names_in(text: str) -> Iterator[tuple[int, str]]:
    """What a source uses: names that it calls or derives from, attributes with and without their
    owner, and modules that it imports. A name that only annotates is no use."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                yield node.lineno, name
            case ast.Attribute(attr=name):
                yield node.lineno, name
                yield node.lineno, ast.unparse(node)
            case ast.ClassDef(bases=bases):
                yield from ((node.lineno, ast.unparse(base)) for base in bases)
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_take_the_plain_way(source: Path) -> None:
    place = str(source.relative_to(ROOT))
    wrong = [
        f"{place}:{line}: {name}"
        for line, name in names_in(source.read_text(encoding="utf-8"))
        if name in ALLOWED and place not in ALLOWED[name]
    ]
    assert wrong == []


def test_all_kinds_are_found() -> None:
    text = """
import csv
widget.setToolTip(text)
QLabel(text)
class Mine(QLabel): pass
QMessageBox.critical(None, title, text)
item = Role.ToolTipRole
def show(place: QLabel) -> None: print(place)
sys.stdout.write(text)
"""
    found = {name for _line, name in names_in(text)} & set(ALLOWED)
    assert found == {
        *("csv", "setToolTip", "QLabel", "QMessageBox.critical", "ToolTipRole", "print"),
        "sys.stdout",
    }
    assert all((ROOT / place).is_file() for places in ALLOWED.values() for place in places)
