"""The first steps: three pages, and at most five clicks to training."""

from collections.abc import Callable
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QComboBox, QPushButton, QSystemTrayIcon
from pytestqt.qtbot import QtBot

from app.cli import Arguments
from app.common import i18n
from app.common.paths import RESOURCES
from app.spec import invite
from app.spec import schema as spec
from tests.support.backend.server import SmallBackend
from tests.support.gui.windows import DEVICES, Bench, clipped, name_of
from tests.support.training.specs import PEER, SMALLEST
from ui.application import _begin
from ui.dialogs.first_steps import FirstSteps
from ui.dialogs.join.dialog import JoinDialog

pytestmark = pytest.mark.gui

POEMS = spec.parse({**SMALLEST, "run_id": "poems", "title": "Poems", "initial_peers": [PEER]})
MOST_CLICKS = 5


@pytest.fixture(autouse=True)
def tray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)


class Mouse:
    """Clicks on widgets, and counts the clicks."""

    def __init__(self, qtbot: QtBot) -> None:
        self._qtbot = qtbot
        self.clicks = 0

    def click(self, button: QAbstractButton) -> None:
        self._qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled())
        self._qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.clicks += 1


@pytest.fixture
def mouse(qtbot: QtBot) -> Mouse:
    return Mouse(qtbot)


def opened(bench: Bench) -> FirstSteps:
    bench.dispatch(*DEVICES)
    bench.actions.first_steps_wanted.emit()
    dialog = bench.window.dialogs._shown["first steps"]
    assert isinstance(dialog, FirstSteps)
    return dialog


@pytest.fixture
def dialog(bench: Bench) -> FirstSteps:
    return opened(bench)


def last_page(dialog: FirstSteps, mouse: Mouse) -> None:
    mouse.click(dialog.next)
    mouse.click(dialog.next)


def the_join_dialog(bench: Bench, qtbot: QtBot) -> JoinDialog:
    qtbot.waitUntil(lambda: "first steps" not in bench.window.dialogs._shown)
    dialog = bench.window.dialogs._shown["join"]
    assert isinstance(dialog, JoinDialog)
    return dialog


# --- to training ---------------------------------------------------------------------------------


def test_the_demo_is_few_clicks_away(
    bench: Bench, dialog: FirstSteps, mouse: Mouse, qtbot: QtBot
) -> None:
    last_page(dialog, mouse)
    mouse.click(dialog.demo)
    qtbot.waitUntil(lambda: bench.session.calls == ["demo", "start"])
    assert mouse.clicks <= MOST_CLICKS
    assert "first steps" not in bench.window.dialogs._shown


def test_an_invite_is_few_clicks_away(
    bench: Bench, dialog: FirstSteps, mouse: Mouse, qtbot: QtBot
) -> None:
    last_page(dialog, mouse)
    mouse.click(dialog.join)
    joining = the_join_dialog(bench, qtbot)
    joining.invite.link.setText(invite.as_link(POEMS))
    mouse.click(joining.invite.view)
    mouse.click(joining.join)
    qtbot.waitUntil(lambda: bench.session.calls == ["join poems", "start"])
    assert mouse.clicks <= MOST_CLICKS


def test_what_is_offered_is_few_clicks_away(
    make_bench: Callable[[], Bench],
    until_done: Callable[..., Any],
    mouse: Mouse,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with SmallBackend() as backend:
        monkeypatch.setenv("BACKEND_URL", backend.url)
        backend.sessions = [
            {
                "id": "1",
                "title": "Poems",
                "status": "running",
                "configuration": {**SMALLEST, "run_id": "poems"},
            }
        ]
        bench = make_bench()
        until_done(bench.session.contributions.open())
        until_done(bench.session.account.open())
        dialog = opened(bench)
        last_page(dialog, mouse)
        mouse.click(dialog.offers)
        joining = the_join_dialog(bench, qtbot)
        qtbot.waitUntil(lambda: joining.offered.list.count() == 1)
        mouse.click(joining.offered.view)
        mouse.click(joining.join)
        qtbot.waitUntil(lambda: bench.session.calls == ["join poems", "start"])
    assert mouse.clicks <= MOST_CLICKS


# --- on terms ------------------------------------------------------------------------------------


def test_terms_are_kept(bench: Bench, dialog: FirstSteps, mouse: Mouse, qtbot: QtBot) -> None:
    mouse.click(dialog.next)
    for each in dialog.terms.rows:
        assert isinstance(each.field.control, QAbstractButton)
        each.field.control.click()
    qtbot.waitUntil(lambda: bench.preferences.value("start_at_login"))
    qtbot.waitUntil(lambda: bench.session.store.settings.close_to_tray)
    qtbot.waitUntil(lambda: not bench.session.store.settings.publish_machine)
    assert bench.session.store.settings.terms.mains_only
    assert bench.session.store.settings.terms.idle_minutes == 10


def test_device_is_chosen(bench: Bench, dialog: FirstSteps, mouse: Mouse) -> None:
    mouse.click(dialog.next)
    assert dialog.device.currentData() == "cuda:0"
    dialog.device.activated.emit(dialog.device.findData("cpu"))
    assert bench.session.store.state.device == "cpu"


# --- when ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (Arguments(), True),
        (Arguments(minimized=True), False),
        (Arguments(demo=True), False),
        (Arguments(invite="a.cotrain"), False),
        (Arguments(swarm="a.cotrain"), False),
    ],
    ids=["plain", "minimized", "demo", "invite", "swarm"],
)
def test_they_come_by_themselves_once(bench: Bench, arguments: Arguments, shown: bool) -> None:
    asked: list[bool] = []
    bench.actions.first_steps_wanted.disconnect(bench.window.dialogs.first_steps)
    bench.actions.join_wanted.disconnect(bench.window.dialogs.join)
    bench.actions.first_steps_wanted.connect(lambda: asked.append(True))
    bench.actions.join = lambda *_, **__: None  # type: ignore[method-assign]
    folders = bench.session.folders
    _begin(arguments, bench.actions, folders)
    _begin(arguments, bench.actions, folders)
    assert asked == [True] * shown


def test_they_are_opened_again_from_the_menu(bench: Bench) -> None:
    entries = [
        entry
        for menu in bench.window.menuBar().actions()
        for entry in menu.menu().actions()
        if entry.text() == "&First steps…"
    ]
    entries[0].trigger()
    assert "first steps" in bench.window.dialogs._shown


def test_the_keyboard_alone_leads_through(bench: Bench, dialog: FirstSteps, qtbot: QtBot) -> None:
    place = dialog.back.mapTo(dialog, dialog.back.rect().topLeft())
    for _step in range(2):
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Return)
    assert dialog.pages.currentIndex() == 2
    assert dialog.back.mapTo(dialog, dialog.back.rect().topLeft()) == place
    qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
    qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
    assert dialog.focusWidget() is dialog.demo
    qtbot.keyClick(dialog.demo, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "first steps" not in bench.window.dialogs._shown)


def test_back_and_not_now(bench: Bench, dialog: FirstSteps, mouse: Mouse) -> None:
    assert not dialog.back.isEnabled()
    last_page(dialog, mouse)
    assert not dialog.next.isVisible()
    mouse.click(dialog.back)
    assert dialog.place.text() == "Step 2 of 3"
    mouse.click(dialog.later)
    assert bench.window.dialogs._shown == {}
    assert bench.session.calls == []


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_nothing_is_clipped_and_everything_has_a_name(
    make_bench: Callable[..., Bench], qtbot: QtBot, language: str
) -> None:
    i18n.install(language, RESOURCES / "translations")
    dialog = opened(make_bench())
    qtbot.waitExposed(dialog)
    for page in range(dialog.pages.count()):
        dialog.open_page(page)
        qtbot.waitUntil(lambda: clipped(dialog) == [])
        controls = (*dialog.findChildren(QPushButton), *dialog.findChildren(QComboBox))
        assert [each for each in controls if not name_of(each)] == []
