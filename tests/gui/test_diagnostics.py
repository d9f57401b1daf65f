"""Help → Collect diagnostics: what the archive holds, and where it was saved."""

import threading
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from app.desktop import about
from app.desktop.about import About
from app.desktop.diagnostics import collect
from tests.support.gui.windows import Bench, clipped
from ui.dialogs import diagnostics
from ui.dialogs.diagnostics import DiagnosticsDialog

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(
    ("place", "said"), [("report.zip", "Saved as"), ("missing/report.zip", "can't be written")]
)
def test_the_archive_is_written_where_the_user_says(
    bench: Bench,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    said: str,
) -> None:
    (tmp_path / "about.json").write_text(About(version="9.1", commit="", parts=()).to_json())
    monkeypatch.setattr(about, "BUILT", tmp_path / "about.json")
    file = tmp_path / place
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    bench.session.folders.create()
    bench.window.dialogs.diagnostics()
    dialog = bench.window.findChild(DiagnosticsDialog)
    assert dialog is not None
    assert not clipped(dialog)
    dialog.save.click()
    qtbot.waitUntil(lambda: said in dialog.outcome.text())
    assert file.exists() is (said == "Saved as")
    assert dialog.show_it.isHidden() is not file.exists()
    assert not clipped(dialog)


@pytest.mark.parametrize("place", ["report.zip", "missing/report.zip"])
def test_who_closes_it_meanwhile_is_told_only_what_failed(
    bench: Bench, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    go_on = threading.Event()

    def later(*arguments: Any, **parts: Any) -> None:
        go_on.wait()
        collect(*arguments, **parts)

    monkeypatch.setattr(diagnostics, "collect", later)
    bench.window.dialogs.diagnostics()
    dialog = bench.window.findChild(DiagnosticsDialog)
    assert dialog is not None
    writing = bench.model.start(dialog.write(tmp_path / place))
    qtbot.waitUntil(lambda: not dialog.save.isEnabled())
    dialog.reject()
    qtbot.waitUntil(lambda: not isValid(dialog))
    go_on.set()
    qtbot.waitUntil(writing.done)
    problem = bench.session.store.state.problem
    assert (problem is None) is (tmp_path / place).exists()
    assert problem is None or "can't be written" in problem.message
