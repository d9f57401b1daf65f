"""Swarm → Export the model: from the choice to a folder that can be loaded."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app import protocol
from app.export import exporter
from app.spec import schema
from app.takeout import run_file
from app.takeout.marker import MARKER
from tests.support.gui.windows import SWARM, WATCHING, Bench, clipped
from tests.support.training.specs import SMALLEST
from ui.dialogs.export.dialog import ExportDialog
from ui.widgets.choice import Choice

pytestmark = pytest.mark.gui

RUN = "0" * 12
CHILD = f"""
import json, os, pathlib, sys

def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)

say("Hello", version={protocol.VERSION}, pid=os.getpid())
order = json.loads(sys.stdin.readline())
folder = pathlib.Path(order["folder"])
if order["type"] == "Export":
    (folder / "config.json").write_text("{{}}")
    marker = {{"format": "cotrain-export/1", "files": {{"config.json": 2}}}}
    (folder / "{MARKER}").write_text(json.dumps(marker))
    say("ExportProgress", step="writing", done=1, size=2)
    if order["spec"]["run_id"] == "hangs":
        sys.stdin.read()
    say("Exported", epoch=3, parameters=4, size=5000, passed_over=["epoch-000000004.pt"])
elif order["token"] != "hf_right":
    say("TrainerProblem", message="the hub doesn't let this token write there.")
else:
    say("Uploaded", url="https://hub.example/" + order["repository"], public=order["public"])
"""


@pytest.fixture(autouse=True)
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small program in the place of the process that exports."""
    file = tmp_path / "child.py"
    file.write_text(CHILD, encoding="utf-8")
    command = [sys.executable, "-S", str(file)]
    monkeypatch.setattr(exporter, "command_line", lambda *_rest: command)


Open = Callable[..., ExportDialog]


@pytest.fixture
def opened(bench: Bench, qtbot: QtBot) -> Open:
    """Opens the dialog, with checkpoints of these runs on this machine."""

    def make(*run_ids: str) -> ExportDialog:
        for run_id in run_ids:
            spec = schema.parse(SMALLEST | {"run_id": run_id, "title": "A <b>swarm</b>"})
            folder = bench.session.folders.checkpoints(run_id) / "trainer"
            folder.mkdir(parents=True)
            run_file.write(folder, RUN, spec)
            (folder / f"epoch-000000003-{RUN}-{'0' * 32}.pt").touch()
        bench.actions.export_wanted.emit()
        dialog = bench.window.findChild(ExportDialog)
        assert dialog is not None
        qtbot.waitUntil(lambda: dialog.closes.text() == "Close")
        return dialog

    return make


def exported(dialog: ExportDialog, qtbot: QtBot) -> None:
    dialog.go.click()
    assert dialog.closes.text() == "Cancel"
    qtbot.waitUntil(lambda: dialog.closes.text() == "Close")
    assert not clipped(dialog)


def test_without_a_checkpoint_there_is_nothing_to_export(opened: Open) -> None:
    dialog = opened()
    assert not dialog.go.isEnabled()
    assert "train first" in dialog.status.text()
    assert not clipped(dialog)


def test_a_run_becomes_a_folder_and_three_lines_that_load_it(
    opened: Open, qtbot: QtBot, home: Path
) -> None:
    dialog = opened("mine")
    assert "A <b>swarm</b>, epoch 3" in dialog.run.control.currentText()  # type: ignore[union-attr]
    exported(dialog, qtbot)
    folder = home / "models" / "mine"
    assert str(folder) in dialog.status.text()
    assert "epoch-000000004.pt is damaged" in dialog.status.text()
    assert (folder / "config.json").exists()
    dialog.copy.click()
    copied = QGuiApplication.clipboard().text().splitlines()
    assert len(copied) == 3
    assert copied[1] == f'model = AutoModelForCausalLM.from_pretrained("{folder}")'
    assert dialog.show_it.isVisible()


def test_it_begins_with_the_run_of_our_swarm(opened: Open, bench: Bench) -> None:
    bench.dispatch(*WATCHING)
    dialog = opened("later", SWARM.run_id, "latest")
    assert dialog.folder.value.endswith(SWARM.run_id)


def test_what_lies_there_is_set_aside_only_if_the_user_says_so(
    opened: Open, qtbot: QtBot, home: Path
) -> None:
    folder = home / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "diary.txt").write_text("private")
    dialog = opened("mine")
    assert not dialog.replace.isVisible()
    exported(dialog, qtbot)
    assert "something else" in dialog.error.text()
    assert [*folder.iterdir()] == [folder / "diary.txt"]
    assert dialog.replace.isVisible()
    dialog.replace.setChecked(True)
    exported(dialog, qtbot)
    assert (folder / "config.json").exists()
    assert "What lay there is now" in dialog.status.text()


def test_an_upload_that_is_refused_can_be_repeated_alone(opened: Open, qtbot: QtBot) -> None:
    dialog = opened("mine")
    dialog.to_hub.setChecked(True)
    dialog.hub.repository.set_value("no name")
    dialog.go.click()
    assert dialog.closes.text() == "Close"  # nothing began
    assert dialog.hub.repository.error.isVisible()
    dialog.hub.repository.set_value("ada/tiny")
    exported(dialog, qtbot)
    assert "doesn't let this token" in dialog.error.text()
    assert "Exported epoch 3" in dialog.status.text()
    dialog.hub.token.set_value("hf_right")
    dialog.again.click()
    qtbot.waitUntil(lambda: dialog.closes.text() == "Close")
    assert "Uploaded, private: https://hub.example/ada/tiny" in dialog.status.text()
    assert dialog.error.isHidden()


def test_another_run_or_folder_is_exported_before_it_is_uploaded(
    opened: Open, qtbot: QtBot
) -> None:
    dialog = opened("first", "second")
    dialog.to_hub.setChecked(True)
    dialog.hub.repository.set_value("ada/first")
    dialog.hub.token.set_value("hf_right")
    box = dialog.run.control
    assert isinstance(box, Choice)
    for change in (
        lambda: box.setCurrentIndex(1 - box.currentIndex()),
        lambda: dialog.folder.set_value(dialog.folder.value + "-2"),
    ):
        exported(dialog, qtbot)
        assert dialog.again.isVisible()
        change()
        for part in (dialog.again, dialog.show_it, dialog.copy, dialog.code):
            assert part.isHidden()
        assert dialog.status.text() == ""
    dialog.hub.token.set_value("wrong")
    exported(dialog, qtbot)
    assert dialog.again.isVisible()
    assert dialog.status.text().count("Exported") == 1


def test_closing_it_ends_the_export(opened: Open, qtbot: QtBot, bench: Bench, home: Path) -> None:
    dialog = opened("hangs")
    dialog.go.click()
    qtbot.waitUntil(lambda: "Writing" in dialog.status.text())
    dialog.closes.click()
    qtbot.waitUntil(lambda: not bench.model._tasks)
    assert [*(home / "models").iterdir()] == []
