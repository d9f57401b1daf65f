"""The question whether to accept a task, and the dialog for the local API."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot
from qasync import QEventLoop

from app.callback.tokens import ApiTokens, Role
from app.common import i18n
from app.common.paths import RESOURCES
from app.settings import file as settings_file
from app.state.events import LocalApiChanged
from app.state.facts import LocalApi
from app.tasks.order import Order, interpret
from app.tasks.task import Task
from tests.support.gui.windows import TRAINING, Bench, RecordingNotifier, clipped, name_of
from tests.support.processes.sessions import train_body
from ui.dialogs.consent import ConsentQuestion, VolunteerAtWindow
from ui.dialogs.local_api import MASK, LocalApiDialog

pytestmark = pytest.mark.gui

SLOT = {"source": "slot", "label": "corpus"}


def made_task(caller: str = "10.0.0.7", **parts: Any) -> Task:
    order = Order(caller=caller, **train_body(**parts))
    chosen = {"corpus": Path("/home/me/diary.txt")}
    meaning = interpret(order, files_of=lambda _run_id: chosen)
    return Task(id="1", order=order, meaning=meaning, changed=lambda _task: None)


def shown_text(question: ConsentQuestion) -> str:

    from ui.widgets.labels import ElidedLabel

    return "\n".join(
        label.full if isinstance(label, ElidedLabel) else label.text()
        for label in question.findChildren(QLabel)
    )


# --- the question --------------------------------------------------------------------------------


def test_question_says_what_it_would_do_and_who_asks(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    question = ConsentQuestion(bench.window, made_task(), bench.session.store.state)
    qtbot.addWidget(question)
    text = shown_text(question)
    for word in (
        "10.0.0.7",
        "alice",
        "42",
        "GPT-2",
        "n_layer 1",
        "Built in: python-docs",
        "256 samples of 64 tokens",
        "RTX 4070, 12",
        "after 4 epochs",
        "To train it, you leave the swarm Python's documentation",
    ):
        assert word in text
    assert question.refuse.isDefault()


def test_question_about_files_names_them_and_cannot_be_answered_for_ever(
    bench: Bench, qtbot: QtBot
) -> None:
    question = ConsentQuestion(
        bench.window, made_task(dataset_info=SLOT), bench.session.store.state
    )
    qtbot.addWidget(question)
    question.show()
    assert "/home/me/diary.txt" in shown_text(question)
    assert not question.always.isVisible()


@pytest.fixture
def volunteer(bench: Bench, notifier: RecordingNotifier) -> VolunteerAtWindow:
    return VolunteerAtWindow(bench.window, bench.session, notifier)


@pytest.mark.parametrize("agrees", [True, False])
def test_answer_is_the_volunteers(
    bench: Bench,
    volunteer: VolunteerAtWindow,
    notifier: RecordingNotifier,
    loop: QEventLoop,
    qtbot: QtBot,
    agrees: bool,
) -> None:
    asking = loop.create_task(volunteer.agrees(made_task()))
    question = the_question(bench, qtbot)
    qtbot.waitUntil(lambda: len(notifier.shown) == 1)
    qtbot.mouseClick(question.agree if agrees else question.refuse, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(asking.done)
    assert asking.result() is agrees
    assert notifier.shown == []
    assert bench.session.store.settings.consent == "ask"


def test_closing_the_question_refuses(
    bench: Bench, volunteer: VolunteerAtWindow, loop: QEventLoop, qtbot: QtBot
) -> None:
    asking = loop.create_task(volunteer.agrees(made_task()))
    the_question(bench, qtbot).close()
    qtbot.waitUntil(asking.done)
    assert asking.result() is False


def test_always_is_kept_for_this_caller_alone(
    bench: Bench, volunteer: VolunteerAtWindow, loop: QEventLoop, qtbot: QtBot
) -> None:
    asking = loop.create_task(volunteer.agrees(made_task()))
    question = the_question(bench, qtbot)
    question.always.setChecked(True)
    question.agree.click()
    qtbot.waitUntil(asking.done)
    assert bench.session.store.settings.consent_backends == ("10.0.0.7",)
    saved = settings_file.read(bench.session.folders.settings_file)
    assert saved == {"consent": "always", "consent_backends": ["10.0.0.7"]}


def test_question_goes_away_when_it_is_moot(
    bench: Bench, volunteer: VolunteerAtWindow, loop: QEventLoop, qtbot: QtBot
) -> None:
    asking = loop.create_task(volunteer.agrees(made_task()))
    the_question(bench, qtbot)
    asking.cancel()
    qtbot.waitUntil(lambda: not bench.window.findChildren(ConsentQuestion))


def the_question(bench: Bench, qtbot: QtBot) -> ConsentQuestion:
    qtbot.waitUntil(lambda: bool(bench.window.findChildren(ConsentQuestion)))
    return bench.window.findChildren(ConsentQuestion)[0]


# --- the local API -------------------------------------------------------------------------------


@pytest.fixture
def dialog(bench: Bench, qtbot: QtBot, tmp_path: Path) -> LocalApiDialog:
    api = LocalApi(url="http://127.0.0.1:8001", port=8001, wanted_port=8000)
    bench.dispatch(LocalApiChanged(local_api=api))
    made = LocalApiDialog(
        bench.window,
        bench.model,
        tokens=ApiTokens(tmp_path / "tokens.json"),
    )
    qtbot.addWidget(made)
    made.show()
    return made


def test_taken_port_is_said(bench: Bench, dialog: LocalApiDialog) -> None:
    assert dialog.address.full == "http://127.0.0.1:8001"
    assert any("8000 is taken" in each.text() for each in dialog.findChildren(QLabel))
    assert bench.window.sidebar.local_api.text() == "Local API: port 8001\n(8000 is taken)"
    dialog.copy_address.click()
    assert QGuiApplication.clipboard().text() == "http://127.0.0.1:8001"


def test_page_and_description_open_in_the_browser(
    dialog: LocalApiDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    dialog.page.click()
    dialog.describe.click()
    assert opened == ["http://127.0.0.1:8001", "http://127.0.0.1:8001/docs"]
    assert dialog.sizeHint().width() <= dialog.width()  # the row has room for its buttons


def test_token_is_hidden_until_it_is_to_be_seen(dialog: LocalApiDialog, tmp_path: Path) -> None:
    row = dialog.operator
    token = ApiTokens(tmp_path / "tokens.json").of(Role.OPERATOR)
    assert row.value.full == MASK
    row.copy.click()
    assert QGuiApplication.clipboard().text() == token
    row.show_it.click()
    assert row.value.full == token
    row.show_it.click()
    assert row.value.full == MASK


def test_a_token_that_cannot_be_saved_is_said_beside_it(
    dialog: LocalApiDialog, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    dialog.viewer.renew.click()
    assert "No space left on device" in dialog.viewer.error.text()
    qtbot.waitUntil(lambda: not clipped(dialog))
    monkeypatch.undo()
    dialog.viewer.renew.click()
    assert dialog.viewer.error.isHidden()


def test_token_is_renewed(dialog: LocalApiDialog, tmp_path: Path) -> None:
    before = ApiTokens(tmp_path / "tokens.json")
    dialog.viewer.renew.click()
    after = ApiTokens(tmp_path / "tokens.json")
    assert before.of(Role.VIEWER) != after.of(Role.VIEWER)
    assert before.of(Role.OPERATOR) == after.of(Role.OPERATOR)


def test_choice_about_tasks_is_kept(bench: Bench, dialog: LocalApiDialog, qtbot: QtBot) -> None:
    file = bench.session.folders.settings_file
    dialog.modes.activated.emit(dialog.modes.findData("never"))
    qtbot.waitUntil(file.exists)
    assert settings_file.read(file) == {"consent": "never"}
    assert bench.session.store.settings.consent == "never"


def test_a_choice_that_cannot_be_kept_is_said_in_the_dialog(
    bench: Bench, dialog: LocalApiDialog, qtbot: QtBot
) -> None:
    later = {"version": len(settings_file.MIGRATIONS) + 1}
    bench.session.folders.settings_file.write_text(json.dumps(later), encoding="utf-8")
    dialog.modes.activated.emit(dialog.modes.findData("never"))
    qtbot.waitUntil(dialog.error.isVisible)
    assert dialog.modes.currentData() == bench.session.store.settings.consent
    assert bench.session.store.state.problem is None
    assert not clipped(dialog)


def test_dialog_without_an_api_says_so(bench: Bench, qtbot: QtBot) -> None:
    made = LocalApiDialog(bench.window, bench.model, tokens=None)
    qtbot.addWidget(made)
    assert [button.text() for button in made.findChildren(QPushButton)] == ["Close"]


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_nothing_is_clipped_and_everything_has_a_name(
    make_bench: Callable[[], Bench], qtbot: QtBot, tmp_path: Path, language: str
) -> None:
    i18n.install(language, RESOURCES / "translations")
    bench = make_bench()
    api = LocalApi(url="http://127.0.0.1:8001", port=8001, wanted_port=8000)
    bench.dispatch(*TRAINING, LocalApiChanged(local_api=api))
    tokens = ApiTokens(tmp_path / "tokens.json")
    dialog = LocalApiDialog(bench.window, bench.model, tokens=tokens)
    question = ConsentQuestion(bench.window, made_task(), bench.session.store.state)
    for window in (dialog, question):
        qtbot.addWidget(window)
        window.show()
        qtbot.waitExposed(window)
        assert clipped(window) == []
        unnamed = [each for each in window.findChildren(QPushButton) if not name_of(each)]
        assert unnamed == []
