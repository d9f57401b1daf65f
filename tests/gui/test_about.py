"""Help → About: the version, and the licences of the parts."""

from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from app.desktop import about
from app.desktop.about import About, Component
from tests.support.gui.windows import Bench, clipped, name_of
from ui.dialogs.about import AboutDialog

pytestmark = pytest.mark.gui

BUILT = About(
    version="9.9.9",
    commit="0123456789ab",
    parts=(
        Component(name=about.DISTRIBUTION, version="9.9.9", licence="Apache-2.0", text="Ours."),
        Component(name="aged", version="1", licence="", text=""),
        Component(name="thing", version="2", licence="MIT", text="Copyright © somebody"),
    ),
)


@pytest.fixture
def dialog(
    bench: Bench, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AboutDialog:
    file = tmp_path / "about.json"
    file.write_text(BUILT.to_json(), encoding="utf-8")
    monkeypatch.setattr(about, "BUILT", file)
    bench.window.dialogs.about()
    made = bench.window.findChild(AboutDialog)
    assert made is not None
    qtbot.waitUntil(lambda: bool(made.parts.shown))
    return made


def test_it_says_the_build_and_our_own_licence_first(dialog: AboutDialog) -> None:
    assert dialog.build.text() == "Version 9.9.9 · 0123456789ab"
    assert dialog.licence.toPlainText() == "Ours."


def test_a_part_shows_its_licence(dialog: AboutDialog) -> None:
    dialog.table.selectRow(dialog.parts.row_of("thing") or 0)
    assert dialog.licence.toPlainText() == "Copyright © somebody"
    dialog.table.selectRow(dialog.parts.row_of("aged") or 0)
    assert "without the text" in dialog.licence.toPlainText()


def test_the_version_can_be_copied_for_a_report(dialog: AboutDialog) -> None:
    dialog.copy.click()
    assert QGuiApplication.clipboard().text() == "Version 9.9.9 · 0123456789ab"


def test_nothing_is_clipped_or_nameless(dialog: AboutDialog) -> None:
    assert not clipped(dialog)
    assert all(name_of(each) for each in dialog.findChildren(QPushButton))


def test_closing_it_before_it_is_filled_breaks_nothing(bench: Bench, qtbot: QtBot) -> None:
    bench.window.dialogs.about()
    dialog = bench.window.dialogs._shown["about"]
    dialog.reject()
    qtbot.waitUntil(lambda: not isValid(dialog) and not bench.model._tasks)
    assert bench.session.store.state.problem is None
