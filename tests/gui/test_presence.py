"""The app outside its window: tray, notifications, and what closing the window does."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication, QSystemTrayIcon
from pytestqt.qtbot import QtBot
from qasync import QEventLoop

from app import protocol
from app.contributions.ledger import LedgerTotals
from app.protocol import TrainerPhase
from app.state.events import (
    Event,
    Joined,
    JoinFailed,
    PauseChosen,
    ProblemRaised,
    RestartCancelled,
    TrainerGone,
)
from app.state.facts import Problem
from app.state.state import ContributorState
from app.state.transition import after
from tests.support.gui.windows import (
    DEVICES,
    JOINING,
    PREPARING,
    TRAINING,
    WATCHING,
    Bench,
    RecordingNotifier,
    progress,
)
from ui.desktop.notifier import Notifier
from ui.desktop.tray import Tray, picture
from ui.presence import DesktopPresence
from ui.texts.news import milestone, news

pytestmark = pytest.mark.gui

PROBLEM = Problem(message="it broke.", remedy="Mend it.")
PAUSED = (*TRAINING, PauseChosen(), protocol.PhaseChanged(phase=TrainerPhase.PAUSED))
RESTARTING = (*TRAINING, TrainerGone(problem=PROBLEM, restart_at=4e9))
FAILED = (*TRAINING, TrainerGone(problem=PROBLEM))
COMPLETED = (*TRAINING, TrainerGone(completed=True))
AVERAGING = (*TRAINING, protocol.PhaseChanged(phase=TrainerPhase.AVERAGING))


def state_of(events: tuple[Event, ...]) -> ContributorState:
    state = ContributorState()
    for event in events:
        state = after(state, event)
    return state


# --- what is news --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "event", "kind", "word"),
    [
        (PREPARING, protocol.PhaseChanged(phase=TrainerPhase.TRAINING), "training", "GPT-2"),
        (TRAINING, protocol.PhaseChanged(phase=TrainerPhase.PAUSED), "paused", "Not computing"),
        (TRAINING, TrainerGone(problem=PROBLEM), "attention", "It broke. Mend it."),
        (JOINING, JoinFailed(problem=PROBLEM), "attention", "It broke."),
        (TRAINING, ProblemRaised(problem=PROBLEM), "attention", "It broke."),
        (TRAINING, TrainerGone(completed=True), "milestones", "Thank you"),
    ],
)
def test_what_matters_is_news(
    before: tuple[Event, ...], event: Event, kind: str, word: str
) -> None:
    state = state_of(before)
    found = news(state, after(state, event))
    assert found is not None
    assert found.kind == kind
    assert word in found.text


@pytest.mark.parametrize(
    ("before", "event"),
    [
        (TRAINING, progress(step=1)),
        (TRAINING, protocol.PhaseChanged(phase=TrainerPhase.AVERAGING)),
        (AVERAGING, protocol.PhaseChanged(phase=TrainerPhase.TRAINING)),
        (PAUSED, protocol.PhaseChanged(phase=TrainerPhase.TRAINING)),
        (TRAINING, TrainerGone(problem=PROBLEM, restart_at=4e9)),  # it mends itself
        (RESTARTING, RestartCancelled()),  # somebody is there
        (FAILED, progress(step=1)),
        (JOINING, Joined(peer_id="a", addresses=())),
    ],
)
def test_the_rest_is_none(before: tuple[Event, ...], event: Event) -> None:
    state = state_of(before)
    assert news(state, after(state, event)) is None


def totals(*, hours: float = 0.0, samples: int = 0) -> LedgerTotals:
    zeros: dict[str, Any] = dict.fromkeys(LedgerTotals.__annotations__, 0)
    return LedgerTotals(**zeros | {"compute_time": hours * 3600, "samples": samples})


@pytest.mark.parametrize(
    ("before", "now", "word"),
    [
        (totals(hours=0.9), totals(hours=1), "1 hour "),
        (totals(hours=9), totals(hours=11), "10 hours"),
        (totals(hours=0.5), totals(hours=200), "100 hours"),
        (totals(samples=999_999), totals(samples=1_000_000), "1,000,000 samples"),
    ],
)
def test_round_figures_are_milestones(before: LedgerTotals, now: LedgerTotals, word: str) -> None:
    found = milestone(before, now)
    assert found is not None
    assert word in found.text


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (totals(), totals(hours=0.9, samples=999_999)),
        (totals(hours=1), totals(hours=2)),
        (totals(hours=1), totals(hours=1)),
    ],
)
def test_a_milestone_is_passed_once(before: LedgerTotals, now: LedgerTotals) -> None:
    assert milestone(before, now) is None


# --- the tray ------------------------------------------------------------------------------------


@pytest.fixture
def has_tray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QApplication, "activeWindow", lambda: None)


@pytest.fixture
def presence(bench: Bench, notifier: RecordingNotifier) -> Iterator[DesktopPresence]:
    tray = Tray(bench.model, bench.actions, bench.theme)
    made = DesktopPresence(bench.window, bench.model, bench.preferences, tray, notifier)
    yield made
    tray.close()


STATES = [DEVICES, JOINING, WATCHING, PREPARING, TRAINING, AVERAGING, PAUSED, FAILED, RESTARTING]


def test_each_state_has_a_shape_of_its_own() -> None:
    shapes = [picture(state_of(events))[0] for events in STATES]
    assert shapes == [
        "tray-idle",
        "tray-busy",
        "tray-watching",
        "tray-busy",
        "tray-training",
        "tray-training",
        "tray-paused",
        "tray-attention",
        "tray-busy",
    ]


@pytest.mark.parametrize(
    ("events", "status", "entries"),
    [
        (DEVICES, "Not in a swarm", ["Join a swarm…"]),
        (WATCHING, "Watching", ["Start training"]),
        (TRAINING, "Training", ["Stop training", "Pause for an hour"]),
        (PAUSED, "Paused", ["Stop training", "Resume"]),
    ],
)
def test_menu_says_the_state_and_what_can_be_done(
    bench: Bench,
    presence: DesktopPresence,
    events: tuple[Event, ...],
    status: str,
    entries: list[str],
) -> None:
    bench.dispatch(*events)
    menu = presence.tray.menu
    shown = [each.text() for each in menu.actions() if each.isVisible() and each.text()]
    assert shown == [status, *entries, "Open the window", "Quit"]
    assert status in presence.tray._icon.toolTip()
    assert not presence.tray._icon.icon().isNull()


def test_a_tool_tip_is_set_only_when_its_words_change(
    bench: Bench, presence: DesktopPresence, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("ui.desktop.tray.set_tool_tip", lambda _icon, text: said.append(text))
    bench.dispatch(*TRAINING)
    assert said.pop() == "CoTrain · Training"
    said.clear()
    for step in range(5):
        bench.dispatch(progress(step=step))
    assert said == []
    bench.dispatch(PauseChosen(), protocol.PhaseChanged(phase=TrainerPhase.PAUSED))
    assert said == ["CoTrain · Paused"]


def test_icon_follows_the_theme(bench: Bench, presence: DesktopPresence) -> None:
    bench.dispatch(*TRAINING)
    before = presence.tray._icon.icon().cacheKey()
    bench.theme.choose("light")
    assert presence.tray._icon.icon().cacheKey() != before


def test_entries_act(bench: Bench, presence: DesktopPresence, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    presence.tray.primary.trigger()
    bench.dispatch(*TRAINING)
    presence.tray.secondary.trigger()
    bench.dispatch(*PAUSED)
    presence.tray.secondary.trigger()
    qtbot.waitUntil(lambda: bench.session.calls == ["start", "pause 3600", "resume"])
    bench.window.hide()
    presence.tray.open.trigger()
    assert bench.window.isVisible()
    with qtbot.waitSignal(bench.window.quit_wanted):
        presence.tray.quit.trigger()


def test_a_dialog_brings_the_window_back(bench: Bench, presence: DesktopPresence) -> None:
    bench.window.hide()
    presence.tray.primary.trigger()
    assert bench.window.isVisible()
    assert "join" in bench.window.dialogs._shown


def test_closed_it_shows_and_tells_nothing_more(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    unwatched: None,
    loop: QEventLoop,
    qtbot: QtBot,
) -> None:
    for _time in range(2):
        closing = loop.create_task(presence.close())
        qtbot.waitUntil(closing.done)
        closing.result()
    bench.dispatch(*PAUSED)
    assert not presence.tray._icon.isVisible()
    qtbot.waitUntil(lambda: not bench.model._tasks)
    assert notifier.shown == []


# --- pausing for a while -------------------------------------------------------------------------


def test_a_pause_for_a_while_is_the_sessions(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    bench.actions.pause(3600)
    qtbot.waitUntil(lambda: bench.session.calls == ["pause 3600"])


# --- notifications -------------------------------------------------------------------------------


def test_news_is_told(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    unwatched: None,
    qtbot: QtBot,
) -> None:
    bench.dispatch(*PAUSED)
    qtbot.waitUntil(lambda: len(notifier.shown) == 2)
    assert [title for title, _text in notifier.shown] == ["Training began", "Training paused"]


def test_what_was_switched_off_is_not(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    unwatched: None,
    qtbot: QtBot,
) -> None:
    with qtbot.waitSignal(bench.preferences.changed):
        bench.preferences.change("notifications", ("paused",))
    bench.dispatch(*PAUSED)
    qtbot.waitUntil(lambda: bool(notifier.shown))
    assert [title for title, _text in notifier.shown] == ["Training paused"]


def test_who_looks_at_the_window_is_told_nothing(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    monkeypatch.setattr(QApplication, "activeWindow", lambda: bench.window)
    bench.dispatch(*PAUSED)
    qtbot.waitUntil(lambda: not bench.model._tasks)
    assert notifier.shown == []


def test_the_icon_in_the_tray_is_no_window_to_look_at(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    monkeypatch.setattr(QApplication, "activeWindow", lambda: bench.window)
    bench.window.hide()
    bench.dispatch(*PAUSED)
    qtbot.waitUntil(lambda: len(notifier.shown) == 2)


def test_a_milestone_is_told(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    loop: QEventLoop,
    qtbot: QtBot,
    unwatched: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = bench.session.contributions.ledger
    found = [totals(), totals(samples=1_000_000)]

    async def run(_work: object) -> LedgerTotals:
        return found.pop(0)

    monkeypatch.setattr(ledger, "run", run)
    opening = loop.create_task(presence.open())
    qtbot.waitUntil(opening.done)
    ledger._tell()  # a contribution is in the ledger
    qtbot.waitUntil(lambda: [title for title, _text in notifier.shown] == ["A milestone"])


def test_one_milestone_is_told_once_however_often_the_ledger_changes(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    unwatched: None,
    until_done: Callable[..., Any],
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = bench.session.contributions.ledger
    found = totals()
    read: list[LedgerTotals] = []

    async def run(_work: object) -> LedgerTotals:
        await asyncio.sleep(0)  # another change may come meanwhile
        read.append(found)
        return found

    monkeypatch.setattr(ledger, "run", run)
    until_done(presence.open())
    found = totals(samples=1_000_000)
    for _change in range(50):
        ledger._tell()
    qtbot.waitUntil(lambda: not bench.model._tasks and bool(notifier.shown))
    assert [title for title, _text in notifier.shown] == ["A milestone"]
    assert len(read) <= 3  # for opening, the first change, and all that came meanwhile


def test_desktop_without_a_bus_is_told_by_the_tray(
    bench: Bench,
    presence: DesktopPresence,
    loop: QEventLoop,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setattr(presence.tray, "say", lambda title, _text: said.append(title))
    notifier = Notifier(presence.tray, clicked=lambda _activation: None)
    showing = loop.create_task(notifier.show("Paused", ""))
    qtbot.waitUntil(showing.done)
    assert (showing.result(), said) == (None, ["Paused"])


# --- closing the window --------------------------------------------------------------------------


@pytest.fixture
def close_to_tray(bench: Bench) -> None:
    settings = bench.session.store.settings
    bench.session.store.replace_settings(settings.model_copy(update={"close_to_tray": True}))


def test_closing_ends_the_app_unless_chosen(
    bench: Bench, presence: DesktopPresence, has_tray: None, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(bench.window.quit_wanted):
        bench.window.close()


def test_closing_ends_the_app_where_no_tray_is(
    bench: Bench, presence: DesktopPresence, close_to_tray: None, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(bench.window.quit_wanted):
        bench.window.close()


def test_closing_to_the_tray_is_said_once(
    bench: Bench,
    presence: DesktopPresence,
    notifier: RecordingNotifier,
    has_tray: None,
    close_to_tray: None,
    qtbot: QtBot,
) -> None:
    with qtbot.assertNotEmitted(bench.window.quit_wanted):
        for _time in range(2):
            bench.window.show()
            bench.window.close()
            assert not bench.window.isVisible()
    qtbot.waitUntil(lambda: not bench.model._tasks)
    assert [title for title, _text in notifier.shown] == ["CoTrain is still running"]


def test_the_menus_quit_ends_the_app(
    bench: Bench, presence: DesktopPresence, has_tray: None, close_to_tray: None, qtbot: QtBot
) -> None:
    quits = next(
        entry
        for menu in bench.window.menuBar().actions()
        for entry in menu.menu().actions()
        if entry.text() == "&Quit"
    )
    with qtbot.waitSignal(bench.window.quit_wanted):
        quits.trigger()
