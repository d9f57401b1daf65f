"""After failed starts, the app offers to start with default settings."""

from pathlib import Path

import pytest
from PySide6.QtWidgets import QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from app.cli import Arguments
from app.common.paths import Folders
from ui.application import load_settings
from ui.dialogs import safe_start

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(("answer", "safe"), [(0, True), (1, False)])
def test_the_answer_is_what_was_clicked(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, answer: int, safe: bool
) -> None:
    def click(box: QMessageBox) -> int:
        qtbot.addWidget(box)
        box.show()
        words = ("Start with default settings", "Start as usual")
        buttons = {each.text(): each for each in box.findChildren(QPushButton)}
        buttons[words[answer]].click()
        return 0

    monkeypatch.setattr(QMessageBox, "exec", click)
    assert safe_start.wants_default_settings() is safe


def test_a_safe_start_leaves_the_settings_file_alone(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path)
    folders.settings_file.write_text('{"theme": "dark", "threads": "many"}')
    usual, problem = load_settings(folders, Arguments())
    assert (usual.theme, problem is None) == ("system", False)
    folders.settings_file.write_text('{"theme": "dark"}')
    assert load_settings(folders, Arguments())[0].theme == "dark"
    assert load_settings(folders, Arguments(safe=True))[0].theme == "system"
    assert folders.settings_file.read_text() == '{"theme": "dark"}'
