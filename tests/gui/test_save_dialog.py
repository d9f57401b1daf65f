"""Where to save a file: the suffix follows what the user chooses."""

from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from ui.widgets.save_dialog import ask_where_to_save

pytestmark = pytest.mark.gui


def test_suffix_is_that_of_the_chosen_kind(qtbot: QtBot, tmp_path: Path) -> None:
    parent, saved = QWidget(), list[Path]()
    qtbot.addWidget(parent)
    kinds = {"csv": "Tables (*.csv)", "json": "JSON (*.json)"}
    dialog = ask_where_to_save(parent, "Save", name="a.csv", kinds=kinds, save=saved.append)
    assert dialog.defaultSuffix() == "csv"
    dialog.filterSelected.emit("JSON (*.json)")
    assert dialog.defaultSuffix() == "json"
    dialog.fileSelected.emit(str(tmp_path / "b.json"))
    assert saved == [tmp_path / "b.json"]
    dialog.reject()
    qtbot.waitUntil(lambda: not isValid(dialog))
