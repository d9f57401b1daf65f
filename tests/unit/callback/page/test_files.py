"""The files of the page: both languages whole, no markup made of texts, nothing from elsewhere."""

import json
import re

import pytest

from app.callback.page.files import FOLDER, LANGUAGES, PageFiles, language_of
from app.callback.page.routes import MachineColumn, PeerColumn
from app.callback.page.tables import MACHINE_TEXTS, PEER_TEXTS
from app.contributions.outbox import OutboxState
from app.state.facts import ReportingStatus
from app.state.state import Phase
from app.swarm.fleet import Concern

TEXTS = {
    language: json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
SCRIPTS = sorted(FOLDER.glob("*.js"))


def test_both_languages_have_the_same_texts_and_places() -> None:
    first, *others = TEXTS.values()
    for other in others:
        assert other.keys() == first.keys()
        for key, text in other.items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(
                re.findall(r"\{\w+\}", first[key])
            ), key
            assert text.strip()


def test_each_text_that_is_asked_for_is_there() -> None:
    asked = set(re.findall(r"\{\{(\w+)\}\}", (FOLDER / "index.html").read_text()))
    for script in SCRIPTS:
        asked |= set(re.findall(r'text\("(\w+)"', script.read_text()))
    for prefix, values in (
        ("phase", Phase),
        ("outbox", [each for each in OutboxState if each is not OutboxState.OPEN]),
        ("reporting", ReportingStatus),
        ("concern", Concern),
        ("status", ["running", "stopped", "error"]),
        ("role", ["viewer", "operator"]),
    ):
        asked |= {f"{prefix}_{each}" for each in values}
    assert asked - {"language"} <= TEXTS["en"].keys()


def test_no_script_makes_markup_of_texts_or_calls_another_server() -> None:
    for script in SCRIPTS:
        code = script.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "Function(",
        ):
            assert word not in code, script.name
        assert set(re.findall(r"https?://[^\s\"`]+", code)) <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in (FOLDER / "style.css").read_text()
    assert "@import" not in (FOLDER / "style.css").read_text()


def test_colours_are_those_of_the_window() -> None:
    """The window's are in Qt's room, so they are read as text here."""
    theme = (FOLDER.parents[1] / "ui" / "style" / "theme.py").read_text()
    style = (FOLDER / "style.css").read_text()
    for scheme, part in (("LIGHT", style.split("@media")[0]), ("DARK", style.split("@media")[1])):
        window = dict(
            re.findall(r'(\w+)="(#\w+)"', theme.split(f"\n{scheme} = Colors(")[1].split("\n)")[0])
        )
        page = dict(re.findall(r"--([\w-]+): (#\w+)", part))
        assert page
        assert page == {name: window[name.replace("-", "_")] for name in page}


def test_page_is_filled_and_escaped() -> None:
    files = PageFiles()
    for language in LANGUAGES:
        page = files.page(language).content.decode()
        assert f'<html lang="{language}">' in page
        assert "{{" not in page
    assert "operator&#x27;s token" in files.page("en").content.decode()
    assert files.find("index.html") is None
    assert files.find("../routes.py") is None


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "language"),
    [
        (None, None, "", "en"),
        (None, None, "zh-Hant-TW,en;q=0.5", "zh-CN"),
        (None, None, "de,fr;q=0.9", "en"),
        (None, None, "en;q=0.2,zh;q=0.9", "zh-CN"),
        (None, None, "zh;q=0,en", "en"),
        (None, "zh-CN", "en", "zh-CN"),
        ("en", "zh-CN", "zh", "en"),
        ("xx", "xx", "zh", "zh-CN"),
        (None, None, "x" * 100_000, "en"),
    ],
)
def test_language(asked: str | None, kept: str | None, accepted: str, language: str) -> None:
    assert language_of(asked, kept, accepted) == language


def test_packaged_app_has_the_page() -> None:
    bundle = (FOLDER.parents[1] / "packaging" / "bundle.py").read_text()
    assert '*root.glob("resources/page/*")' in bundle


def test_each_sortable_column_is_one_that_the_page_names() -> None:
    lists = (FOLDER / "lists.js").read_text()
    named = set(re.findall(r'name: "(\w+)"', lists))
    assert named == {*MachineColumn.__args__, *PeerColumn.__args__}
    assert {*MACHINE_TEXTS, *PEER_TEXTS} <= named
