"""The documents say what is so: links lead somewhere, named code exists, tables are complete."""

import ast
import json
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from app.commands.overrides import OVERRIDES
from app.settings.settings import Settings
from app.spec import evaluation, schema, training
from app.spec.sources import data, pinned, pretrained
from app.terms.terms import Terms

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?\)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
CODE_NAME = re.compile(
    r"(?:main\.py|Makefile|pyproject\.toml"
    r"|(?:app|ui|tests|packaging|resources|docs|\.github)/[\w./-]*)(?:::[\w.]+)?"
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def documents() -> list[Path]:
    """Every Markdown file of the project, committed or about to be."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard"]
    listing = subprocess.run(
        [*command, "*.md"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if listing.returncode != 0:  # a copy without git
        return sorted(
            path for top in (ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")) for path in top
        )
    return [path for line in sorted(listing.stdout.splitlines()) if (path := ROOT / line).exists()]


DOCUMENTS = documents()
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=relative)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_blocks(text: str) -> str:
    """Without blocks of code between fences."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# --- links ---------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@cache
def anchors(document: Path) -> frozenset[str]:
    """All anchors of a document; a heading that comes again has a number behind it."""
    seen: Counter[str] = Counter()
    found = []
    for heading in re.findall(
        r"^#{1,6} (.+?)\s*#*$",
        without_blocks(document.read_text(encoding="utf-8")),
        flags=re.MULTILINE,
    ):
        name = slug(heading)
        found.append(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return frozenset(found)


def links(document: Path) -> list[str]:
    """Where a document leads to within the project."""
    text = re.sub(r"`[^`\n]*`", "", without_blocks(document.read_text(encoding="utf-8")))
    return [link for link in LINK.findall(text) if not ELSEWHERE.match(link)]


def leads_nowhere(document: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = (document.parent / place).resolve() if place else document
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and anchor not in anchors(target)


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in links(document) if leads_nowhere(document, link)] == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Who may call", "who-may-call"),
        ("`training_params`", "training_params"),
        ("Defences that it doesn't have", "defences-that-it-doesnt-have"),
        ("2. A click on *Start*", "2-a-click-on-start"),
    ],
)
def test_slugs_are_githubs(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    assert leads_nowhere(ROOT / "README.md", "docs/none.md")
    assert leads_nowhere(ROOT / "README.md", "docs/spec.md#none")
    assert not leads_nowhere(ROOT / "README.md", "docs/spec.md#invites")
    made = tmp_path / "made.md"
    made.write_text("[a](b.md) `[c](d.md)` [e](https://f)\n```\n[g](h.md)\n```\n")
    assert links(made) == ["b.md"]


# --- named code ----------------------------------------------------------------------------------


def named_code(document: Path) -> list[str]:
    """Paths between back-ticks, with what is named in them: ``app/session.py::Session.open``."""
    spans = re.findall(r"`([^`\n]+)`", without_blocks(document.read_text(encoding="utf-8")))
    return [span for span in spans if CODE_NAME.fullmatch(span)]


def definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Functions, classes, their methods and what is assigned at the top, by dotted name."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield f"{prefix}{name}"
            case ast.ClassDef(name=name):
                yield f"{prefix}{name}"
                yield from definitions(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield f"{prefix}{name}"


def is_missing(code: str) -> bool:
    place, _, name = code.partition("::")
    path = ROOT / place
    if not name:
        return not path.exists()
    return not path.is_file() or name not in set(
        definitions(ast.parse(path.read_text(encoding="utf-8")).body)
    )


@each_document
def test_named_code_exists(document: Path) -> None:
    assert [code for code in named_code(document) if is_missing(code)] == []


def test_missing_code_is_seen() -> None:
    assert is_missing("app/none.py")
    assert is_missing("app/session.py::Session.none")
    assert not is_missing("app/session.py::Session.open")
    assert not is_missing("app/session.py::CLOSE_SECONDS")


# --- complete tables -----------------------------------------------------------------------------


def rows(name: str) -> dict[str, str]:
    """The rows of a document's tables by what stands between the first back-ticks."""
    found = re.findall(r"^\| `([^`]+)`.*$", text_of(name), flags=re.MULTILINE)
    lines = re.findall(r"^(\| `[^`]+`.*)$", text_of(name), flags=re.MULTILINE)
    return dict(zip(found, lines, strict=True))


def in_words(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case "" | ():
            return "empty"
        case tuple():
            return ",".join(map(str, default))
    return str(default)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_told(name: str) -> None:
    field, row = Settings.model_fields[name], rows("docs/settings.md").get(name, "")
    cells = [cell.strip(" `") for cell in row.split("|")]
    option = {"callback": "--no-callback", "terms": "--term"}.get(name)
    assert cells[3:4] == [option or f"--{name.replace('_', '-')}"]
    assert name in OVERRIDES
    if name != "terms":
        assert cells[2] == field.validation_alias
        assert cells[4] == in_words(field.default)


def test_each_term_is_told() -> None:
    told = rows("docs/settings.md")
    assert set(told) == {*Settings.model_fields, *Terms.model_fields}
    for name, field in Terms.model_fields.items():
        default = "always" if name == "schedule" else in_words(field.default)
        assert told[name].split("|")[2].strip(" `") == default


SPEC_PARTS: tuple[type[BaseModel], ...] = (
    schema.SwarmSpec,
    training.TrainingSpec,
    training.OptimizerSpec,
    training.ScheduleSpec,
    training.AveragingSpec,
    training.DilocoSpec,
    training.SparseLocoSpec,
    training.StopSpec,
    evaluation.EvaluationSpec,
    data.BuiltinData,
    data.FileData,
    data.HttpsData,
    data.HubData,
    data.SlotData,
    data.SlotTokenizer,
    pretrained.HubWeights,
    pretrained.HttpsWeights,
    pinned.PinnedFile,
)


@pytest.mark.parametrize("part", SPEC_PARTS, ids=lambda part: part.__name__)
def test_each_field_of_a_spec_is_told(part: type[BaseModel]) -> None:
    names = {field.alias or name for name, field in part.model_fields.items()}
    told = {
        word
        for span in re.findall(r"`([^`\n]+)`", text_of("docs/spec.md"))
        for word in re.split(r"[.:, ]+", span)
    }
    assert names - told == set()


def test_each_model_type_is_told() -> None:
    assert set(schema.MODEL_TYPES) <= set(re.findall(r"`([^`\n]+)`", text_of("docs/spec.md")))


def test_the_example_of_a_spec_is_one() -> None:
    example = re.search(r"```json\n(.+?)```", text_of("docs/spec.md"), flags=re.DOTALL)
    assert example is not None
    assert schema.parse(json.loads(example[1])).run_id == "my-first-run"


def test_each_route_is_told() -> None:
    source = text_of("app/callback/routes.py")
    routes = re.findall(r'@router\.(get|post)\(\s*f?"([^"]+)"', source)
    assert len(routes) > 10
    told = text_of("docs/local-api.md")
    for method, path in routes:
        clean = path.replace("{PREFIX}", "/api/v1/hivemind").replace("{{", "{").replace("}}", "}")
        assert re.search(rf"`{method.upper()} {re.escape(clean)}[`?]", told), path


def packages() -> list[str]:
    found = (path.parent for top in ("app", "ui") for path in ROOT.glob(f"{top}/**/__init__.py"))
    return sorted(f"{relative(folder)}/" for folder in found)


@pytest.mark.parametrize("package", packages())
def test_each_package_has_its_line_in_the_architecture(package: str) -> None:
    assert package in rows("docs/architecture.md")


def test_the_architecture_has_its_picture_and_walks() -> None:
    text = text_of("docs/architecture.md")
    assert text.count("```mermaid") == 1
    walks = [
        part
        for part in re.split(r"^### ", text, flags=re.MULTILINE)
        if part[:2] in {f"{number}." for number in range(1, 6)}
    ]
    assert len(walks) == 5
    assert all(len(re.findall(r"`[\w/.]+\.py::[\w.]+`", walk)) >= 4 for walk in walks)


# --- the front door ------------------------------------------------------------------------------


def test_readme_is_two_screens_and_has_all_parts() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 130
    wanted = {
        "Try it",
        "Join a swarm",
        "Start a swarm",
        "Take out what this machine gave",
        "Package it",
        "How it works",
        "Support",
        "When something is wrong",
    }
    assert wanted <= set(re.findall(r"^## (.+)$", text, flags=re.MULTILINE))
    assert {"make run", "make test"} <= {
        line.partition("#")[0].strip() for line in text.splitlines()
    }


def test_the_picture_is_a_window_of_moderate_size() -> None:
    picture = (ROOT / "docs" / "images" / "overview.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (1280, 800)
    assert len(picture) < 300_000


RECIPES = ("a setting", "an event", "a page", "a strategy", "a data source", "a translation")


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_names_its_files(recipe: str) -> None:
    part = text_of("CONTRIBUTING.md").partition(f"### Add {recipe}\n")[2].partition("\n#")[0]
    files = [span for span in re.findall(r"`([^`\n]+)`", part) if CODE_NAME.fullmatch(span)]
    assert len(files) >= 5


def test_pre_commit_runs_what_make_lint_runs() -> None:
    config = yaml.safe_load(text_of(".pre-commit-config.yaml"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    recipe = text_of("Makefile").partition("\nlint:")[2].partition("\n\n")[0]
    commands = [line.strip() for line in recipe.splitlines() if line.startswith("\t")]
    assert [hook["entry"] for hook in hooks] == [
        command.replace("$(VENV)", ".venv") for command in commands
    ]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}


@pytest.mark.parametrize(
    "file",
    sorted(path for path in ROOT.glob(".github/**/*.yml")),
    ids=relative,
)
def test_what_github_reads_is_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)
