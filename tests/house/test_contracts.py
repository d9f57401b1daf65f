"""The house's rules, each seen to hold, and each import rule seen to be enforced."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import app
import ui

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "main.py"])
HEAVY = ("torch", "hivemind", "transformers", "datasets")
WEB = ("aiohttp", "httpx2", "keyring", "socketio")  # of the backend's client
SERVING = ("fastapi", "starlette", "uvicorn", "prometheus_client")
PLOTS = ("numpy", "pyqtgraph")  # an overview outside of a swarm shows none
QT = ("PySide6", "shiboken6", "pyqtgraph", "qasync")

TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "app",
    "docs",
    "main.py",
    "packaging",
    "pyproject.toml",
    "resources",
    "tests",
    "ui",
}

each_source = pytest.mark.parametrize(
    "source", SOURCES, ids=lambda path: str(path.relative_to(ROOT))
)


# --- small pieces --------------------------------------------------------------------------------


def nodes(source: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(source.read_text(encoding="utf-8")))


@each_source
def test_files_stay_under_400_lines(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 400


@each_source
def test_functions_stay_under_60_lines(source: Path) -> None:
    long = [
        (node.name, node.end_lineno - node.lineno + 1)
        for node in nodes(source)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 60
    ]
    assert not long


@each_source
def test_classes_stay_under_20_methods(source: Path) -> None:
    methods = {
        node.name: sum(
            isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body
        )
        for node in nodes(source)
        if isinstance(node, ast.ClassDef)
    }
    assert not {name: count for name, count in methods.items() if count >= 20}


def test_main_is_short_and_imports_late() -> None:
    source = (ROOT / "main.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 32
    early = [
        node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [ast.unparse(node) for node in early] == ["import gc", "import sys"]
    assert imported_roots(source) <= {"gc", "sys", "app", "ui", "multiprocessing"}


def imported_roots(source: str) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    return roots


# --- the layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["packaging", "tests", "resources"])
def test_these_folders_are_no_packages(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_top_level_is_as_agreed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert {line.split("/")[0] for line in listing.stdout.splitlines()} <= TOP_LEVEL


def test_app_and_ui_are_ours() -> None:
    assert Path(app.__file__).parent == ROOT / "app"
    assert Path(ui.__file__).parent == ROOT / "ui"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("ui.application", (*HEAVY, *SERVING, *WEB, *PLOTS, "app.spec.schema")),
        ("app.session", (*HEAVY, *SERVING, *WEB, *QT)),
        ("app.headless.run", (*HEAVY, *SERVING, *WEB, *QT)),
        ("app.backend.reporting", (*HEAVY, *SERVING, *WEB, *QT)),
    ],
)
def test_import_stays_light(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import {module}, sys; print(*sorted({set(forbidden)} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


# --- texts ----------------------------------------------------------------------------------------


@cache
def shown_classes() -> set[str]:
    """`Problem`, and `UserFacingError` with all that derive from it: what the user reads."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for source in SOURCES
        for node in nodes(source)
        if isinstance(node, ast.ClassDef)
    }
    names = {"UserFacingError"}
    while more := {name for name, of in bases.items() if of & names} - names:
        names |= more
    return names | {"Problem"}


def is_translatable(text: ast.expr) -> bool:
    """It goes through ``_`` or ``ngettext`` as a literal, comes from elsewhere, or is empty."""
    match text:
        case ast.Constant(value=value):
            return value == ""
        case ast.Call(func=ast.Name(id="_"), args=messages):
            return all(isinstance(each, ast.Constant) for each in messages)
        case ast.Call(func=ast.Name(id="ngettext"), args=[*messages, _count]):
            return all(isinstance(each, ast.Constant) for each in messages)
        case ast.Call(func=ast.Attribute(attr="format", value=template)):
            return is_translatable(template)
        case ast.IfExp(body=one, orelse=other):
            return is_translatable(one) and is_translatable(other)
        case ast.BoolOp(values=values):
            return all(map(is_translatable, values))
    return not isinstance(text, ast.JoinedStr | ast.BinOp)


def english_only(tree: ast.AST, shown: set[str]) -> list[str]:
    """What is shown as it stands in the source, in whichever language the app is."""
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in shown
    ]
    texts = [text for call in calls for text in call.args[:1]]
    texts += [
        keyword.value
        for call in calls
        for keyword in call.keywords
        if keyword.arg in ("message", "remedy")
    ]
    return [ast.unparse(text) for text in texts if not is_translatable(text)]


@pytest.mark.parametrize("error", ["UserFacingError", "SpecError", "RefusedError", "Problem"])
def test_what_the_user_reads_is_known(error: str) -> None:
    assert error in shown_classes()


def test_what_the_user_reads_can_be_translated() -> None:
    shown = shown_classes()
    trees = {source: ast.parse(source.read_text(encoding="utf-8")) for source in SOURCES}
    found = {source: english_only(tree, shown) for source, tree in trees.items()}
    assert {source: texts for source, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    ("call", "caught"),
    [
        ('SpecError("is wrong.")', True),
        ('SpecError(f"{name} is wrong.")', True),
        ('SpecError(_(f"{name} is wrong."))', True),
        ('SpecError("{name} is wrong.".format(name=name))', True),
        ('SpecError("is " + "wrong.")', True),
        ('SpecError(_("is wrong."), remedy="Mend it.")', True),
        ('SpecError(_("is wrong."), remedy=_("Mend it.") if mendable else "Leave it.")', True),
        ('protocol.Problem(message="is wrong.")', True),
        ('SpecError(_("{name} is wrong.").format(name="it"), field="it", remedy="")', False),
        ('SpecError(ngettext("is wrong.", "are wrong.", count), remedy=remedy)', False),
        ("SpecError(error.message, remedy=_again())", False),
        ('ProtocolError("is wrong.")', False),
    ],
)
def test_text_in_english_only_is_caught(call: str, caught: bool) -> None:
    assert bool(english_only(ast.parse(call), {"SpecError", "Problem"})) is caught


# --- the import rules, each broken on purpose ----------------------------------------------------


class Breach(NamedTuple):
    """A line that a contract must catch."""

    contract: str
    file: str
    line: str


LAYERS = "Rule 3: packages of app in layers"

BREACHES = [
    Breach("Rule 1: app never reaches ui or Qt", "app/state/state.py", "import ui.texts"),
    Breach("Rule 1: app never reaches ui or Qt", "app/session.py", "from PySide6 import QtCore"),
    Breach("Rule 1: app never reaches ui or Qt", "app/session.py", "import pyqtgraph"),
    Breach("Rule 1: app never reaches ui or Qt", "app/headless/run.py", "import qasync"),
    Breach("Rule 1: nobody imports main", "ui/application.py", "import main"),
    Breach(
        "Rule 2: only p2p and trainer import hivemind",
        "app/session.py",
        "from hivemind.dht import DHT",
    ),
    Breach("Rule 2: only p2p and trainer import hivemind", "ui/application.py", "import hivemind"),
    Breach("Rule 2: only trainer imports torch", "app/p2p/peer.py", "import torch"),
    Breach(
        "Rule 2: nobody but main imports trainer",
        "app/training/supervisor.py",
        "from app.trainer import process",
    ),
    Breach(
        "Rule 2: nobody but main imports trainer", "ui/application.py", "import app.trainer.process"
    ),
    Breach(LAYERS, "app/trainer/loop.py", "from app.settings.settings import Settings"),
    Breach(LAYERS, "app/p2p/run_records.py", "import app.protocol"),
    Breach(LAYERS, "app/state/state.py", "import app.session"),
    Breach(LAYERS, "app/settings/settings.py", "import app.state.state"),
    Breach(LAYERS, "app/p2p/peer.py", "import app.training.supervisor"),
    Breach(LAYERS, "app/callback/routes.py", "from app.session import Session"),
    Breach(LAYERS, "app/tasks/tasks.py", "import app.callback.tokens"),
    Breach(LAYERS, "app/terms/terms.py", "import app.trainer.loop"),
    Breach(LAYERS, "app/newcomer.py", "import json"),
    Breach("Rule 3: no circles in app or ui", "app/common/errors.py", "import app.protocol"),
    Breach("Rule 3: no circles in app or ui", "ui/style/theme.py", "import ui.widgets.card"),
    Breach(
        "Rule 4: pages don't import pages",
        "ui/pages/overview/page.py",
        "from ui.pages.log import page",
    ),
]


def lint_imports(folder: Path) -> dict[str, str]:
    """Each contract's verdict, KEPT or BROKEN, on the packages in a folder."""
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    verdicts = re.findall(r"^(Rule .+?) (KEPT|BROKEN)", result.stdout, re.MULTILINE)
    assert verdicts, result.stdout + result.stderr
    return dict(verdicts)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and the contracts, to be spoilt."""
    folder = tmp_path / "copy"
    for name in ("app", "ui"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_contracts_are_kept_and_each_has_its_breach(copy: Path) -> None:
    assert lint_imports(copy) == {breach.contract: "KEPT" for breach in BREACHES}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.file}: {breach.line}")
def test_contract_catches_its_breach(breach: Breach, copy: Path) -> None:
    with (copy / breach.file).open("a", encoding="utf-8") as file:
        file.write(f"\n{breach.line}\n")
    assert lint_imports(copy)[breach.contract] == "BROKEN"
