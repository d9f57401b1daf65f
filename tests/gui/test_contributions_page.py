"""The contributions page: the ledger's totals, the reports, export and retry."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.contributions import recall
from app.contributions.fates import SwarmFate, is_reported
from app.contributions.ledger import Ledger
from app.contributions.outbox import Outbox, OutboxState
from app.contributions.summary import DAYS
from app.settings.loading import changed
from app.spec.schema import parse
from app.state.events import JoinBegan, ReportingChanged
from app.state.facts import ReportingState, ReportingStatus
from tests.support.gui.windows import SWARM, TRAINING, WATCHING, Bench, clipped
from tests.support.training.specs import SMALLEST
from tests.support.training.works import contribution
from ui.pages.contributions.page import ContributionsPage
from ui.texts.given import contributions as contribution_texts

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
Run = Callable[..., Any]


def given(number: int, *, age: float = 0.0, **changes: Any) -> Any:
    """A contribution that ended ``age`` seconds ago."""
    ended = time.time() - age
    return contribution(number, started_at=ended - 60, ended_at=ended, **changes)


def fill(ledger: Ledger) -> None:
    """Four contributions to a swarm of the backend, in different states, and one to another."""
    for number in range(1, 5):
        ledger.add(given(number))
    ledger.add(given(5, age=3 * 86400, run_id="poems", session_id=None))
    for number in (1, 2, 3):
        ledger.outbox.begin_sending(given(number).id, 1.0)
    ledger.outbox.confirm(given(1).id, 1.0, "http")
    ledger.outbox.refuse(given(2).id, 1.0, "no such session")


@pytest.fixture
def page(bench: Bench, until_done: Run) -> ContributionsPage:
    until_done(bench.session.contributions.open())
    bench.open("Contributions")
    return bench.window.contributions.widget


@pytest.fixture
def filled(bench: Bench, page: ContributionsPage, until_done: Run, qtbot: QtBot) -> Any:
    ledger = bench.session.contributions.ledger
    until_done(ledger.run(fill))
    until_done(ledger.outbox.run(Outbox.refuse, given(4).id, 1.0, "late"))
    qtbot.waitUntil(lambda: page.reports.value("refused") == "2")
    return page


def signed_in(bench: Bench, **changes: Any) -> None:
    values = {"signed_in_as": "you@example.org", "status": ReportingStatus.ON}
    reporting = replace(bench.session.store.state.reporting, **values | changes)
    bench.dispatch(ReportingChanged(reporting=reporting))


# --- what it shows -------------------------------------------------------------------------------


def test_before_the_ledger_is_open_it_says_so(bench: Bench) -> None:
    bench.open("Contributions")
    page = bench.window.contributions.widget
    assert page.empty.title.text() == "Looking…"
    assert not page.reports.isVisible()


def test_empty_page_says_what_to_do(page: ContributionsPage, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: page.empty.title.text() == "Nothing given yet")
    assert "Sign in…" in page.reports.account.text()
    assert not page.export.isEnabled()
    assert not page.totals.isVisible()
    row = page.reports.parentWidget()
    qtbot.waitUntil(lambda: page.reports.width() == row.width())  # no half of the row is empty


def test_sums_and_reports_share_a_row(filled: ContributionsPage) -> None:
    row = filled.totals.parentWidget()
    assert filled.reports.parentWidget() is row
    assert filled.totals.width() < row.width()
    assert filled.totals.y() == filled.reports.y()


def test_sums_of_today_this_week_and_all_time(filled: ContributionsPage) -> None:
    assert [filled.totals.value("samples", place) for place in (0, 2)] == ["3,160", "3,950"]
    assert filled.totals.value("time", 0) == "2 min 44 s"
    assert filled.totals.value("share", 0) == "10\u00a0%"
    assert filled.totals.value("energy", 0) == "2.68 Wh"
    settings = filled._session.store.settings.model_copy(update={"energy_price": 400.0})
    filled._session.store.replace_settings(settings)
    filled.refresh()
    assert filled.totals.value("energy", 0) == "2.68 Wh"
    assert filled.totals.value("cost", 0) == "1.07 €"
    assert filled.totals.value("score", 0) == f"{4 * given(1).score:,}"


def test_what_cant_be_measured_is_said_to_be_estimated(
    filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    assert not filled.totals.energy_note.isVisible()
    ledger = filled._session.contributions.ledger
    until_done(ledger.run(Ledger.add, given(9, energy=None, uptime_ratio=100.0)))
    qtbot.waitUntil(lambda: "couldn't be measured" in filled.totals.energy_note.text())
    assert filled.totals.value("energy", 0) == "2.68 Wh"  # no figure is made up
    settings = filled._session.store.settings
    settings = settings.model_copy(update={"training_watts": 600.0, "energy_price": 10.0})
    filled._session.store.replace_settings(settings)
    filled.refresh()
    assert filled.totals.value("energy", 0) == "≈ 12.7 Wh"
    assert filled.totals.value("cost", 0) == "≈ 0.13 €"
    note = filled.totals.energy_note.text()
    assert "10 Wh of the energy is an estimate, 600 W (as the settings say) for the 1 min" in note
    assert filled.rows.index(0, 6).data() == "≈ 12.7 Wh"


def test_fate_of_the_reports_and_why(filled: ContributionsPage) -> None:
    values = {name: filled.reports.value(name) for name in ("confirmed", "waiting", "refused")}
    assert values == {"confirmed": "1", "waiting": "1", "refused": "2"}
    assert set(filled.reports.refused.text().splitlines()) == {
        "1 refused: no such session",
        "1 refused: late",
    }


def test_each_swarm_has_its_row_by_its_title(
    bench: Bench, filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    model = filled.rows
    rows = [[model.index(row, place).data() for place in range(11)] for row in range(2)]
    assert [row[0] for row in rows] == ["docs", "poems"]
    assert rows[0][3:5] == ["3,160", "10\u00a0%"]
    assert rows[0][8:] == ["1", "1", "2"]
    assert rows[1][8:] == ["0", "0", "0"]
    bench.dispatch(*WATCHING)
    filled.refresh()
    assert model.index(0, 0).data() == "Python's documentation"


def test_titles_come_from_the_swarms_that_were_joined(
    bench: Bench, filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    spec = {**SMALLEST, "run_id": "poems", "title": "Poems of many languages"}
    until_done(bench.session.recents.remember(parse(spec)))
    bench.open("Overview")
    bench.open("Contributions")
    qtbot.waitUntil(lambda: filled.rows.index(1, 0).data() == "Poems of many languages")


def test_part_of_the_epoch_under_way(bench: Bench, filled: ContributionsPage) -> None:
    bench.dispatch(*TRAINING)
    assert filled.epoch.text() == "This machine did 14\u00a0% of epoch 12 so far."


def test_ledger_that_cannot_be_read_is_said(
    bench: Bench, filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    def spoil(ledger: Ledger) -> None:
        ledger._connection.execute("ALTER TABLE contributions RENAME TO lost")

    until_done(bench.session.contributions.ledger.run(spoil))
    bench.open("Overview")
    bench.open("Contributions")
    qtbot.waitUntil(lambda: filled.empty.title.text() == "Your contributions can't be read")
    assert "no such table" in filled.empty.text.text()
    assert bench.session.store.state.problem is None


def test_nothing_is_read_while_nobody_looks(
    bench: Bench, filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    bench.open("Log")
    qtbot.waitUntil(lambda: not bench.window.summary_model._reader._reading)  # what began before
    before = bench.window.summary_model.summary
    until_done(bench.session.contributions.ledger.run(Ledger.add, given(9)))
    assert bench.window.summary_model.summary is before


def test_a_page_that_nobody_sees_is_not_drawn(
    bench: Bench, filled: ContributionsPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr(filled.days, "show_days", drawn.append)
    bench.open("Overview")
    bench.window.summary_model.changed.emit()
    assert drawn == []
    bench.open("Contributions")
    assert len(drawn) == 1


# --- day by day ----------------------------------------------------------------------------------


def test_days_are_read_by_keyboard(filled: ContributionsPage, qtbot: QtBot) -> None:
    days = filled.days
    assert len(days.bars._values) == DAYS
    days.bars.widget.setFocus()
    qtbot.keyClick(days.bars.widget, Qt.Key.Key_Left)
    assert days.reading.text().endswith(": 2 min 44 s")
    assert days.bars.widget.accessibleDescription() == days.reading.text()
    qtbot.keyClick(days.bars.widget, Qt.Key.Key_Left)
    assert days.reading.text().endswith(": nothing")
    qtbot.mouseClick(days.group.button(1), LEFT)
    assert not days.reading.text()  # the focus went elsewhere
    days.bars._choose(DAYS + 5)
    assert days.reading.text().endswith(": 3,160 samples")


@pytest.mark.parametrize(
    ("seconds", "unit", "height"),
    [(6.0, "seconds", 6.0), (150.0, "minutes", 2.5), (9000.0, "hours", 2.5)],
)
def test_bars_are_in_a_unit_that_fits(
    bench: Bench,
    page: ContributionsPage,
    until_done: Run,
    qtbot: QtBot,
    seconds: float,
    unit: str,
    height: float,
) -> None:
    made = given(1, compute_time=seconds)
    until_done(bench.session.contributions.ledger.run(Ledger.add, made))
    qtbot.waitUntil(lambda: bool(page.days.bars._values[-1:].any()))  # nothing is in seconds, too
    assert page.days.unit.text() == unit
    assert page.days.bars._values[-1] == height
    qtbot.mouseClick(page.days.group.button(1), LEFT)
    assert page.days.unit.text() == ""


def test_one_sample_is_no_samples(
    bench: Bench, page: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    until_done(bench.session.contributions.ledger.run(Ledger.add, given(1, samples=1)))
    qtbot.waitUntil(lambda: bool(page.days.bars._values[-1:].any()))
    qtbot.mouseClick(page.days.group.button(1), LEFT)
    page.days.bars._choose(DAYS - 1)
    assert page.days.reading.text().endswith(": 1 sample")


def test_days_can_be_copied(filled: ContributionsPage) -> None:
    filled.days.menu.copy_csv()
    head, old, new, _ = QGuiApplication.clipboard().text().split("\n")
    assert head == "day,compute_seconds,samples,score,chart,x_axis"
    assert [line.split(",")[2] for line in (old, new)] == ["790", "3160"]
    filled.days.menu.copy_picture()
    assert not QGuiApplication.clipboard().pixmap().isNull()


# --- reports -------------------------------------------------------------------------------------


def test_backend_that_is_away_keeps_what_waits(bench: Bench, filled: ContributionsPage) -> None:
    signed_in(
        bench,
        status=ReportingStatus.FAILING,
        reason="the backend can't be reached.",
        remedy="Check your network.",
        next_try=time.mktime((2026, 11, 24, 14, 32, 5, 0, 0, -1)),
    )
    text = filled.reports.why.text()
    assert text.startswith("The backend can't be reached. Check your network.")
    assert "kept on this machine and will be sent" in text
    assert text.endswith("Next try at 14:32:05.")
    assert filled.reports.retry.isVisible()


def test_what_waits_is_sent_once_somebody_signs_in(bench: Bench, filled: ContributionsPage) -> None:
    assert filled.reports.status.text() == "Nobody is signed in"
    assert filled.reports.why.text().endswith("sent once you sign in.")
    assert not filled.reports.retry.isVisible()
    signed_in(bench, way="socket.io")
    assert filled.reports.why.text().endswith("over Socket.IO.")
    assert filled.reports.account.text() == "Account…"


def test_every_status_has_its_words(bench: Bench) -> None:
    for status in ReportingStatus:
        signed_in(bench, status=status)
        state = bench.session.store.state
        assert contribution_texts.status(state.reporting)
        assert contribution_texts.explanation(state, None)
        assert contribution_texts.TONES[status]


def test_each_swarm_says_whether_it_is_reported(bench: Bench, filled: ContributionsPage) -> None:
    signed_in(bench)
    filled.refresh()
    model = filled.rows
    assert [model.index(row, 1).data() for row in range(2)] == ["Refused", "Not reported"]
    refused, poems = filled.unreported.text().splitlines()
    assert refused.startswith("docs: http://backend:3001 has refused")
    assert poems.startswith("poems: Contributions to this swarm are kept here: its session at")
    assert "must put a session_id into" in poems


def fate(**changes: Any) -> SwarmFate:
    values: dict[str, Any] = {
        "session_id": 7,
        "training_id": "uuid",
        "backend": "http://backend:3001",
        "state": OutboxState.CONFIRMED,
        "remark": "",
    }
    return SwarmFate(**values | changes)


FATES: list[tuple[dict[str, Any], str, str, str]] = [
    # the fate, who is signed in, in few words, in full
    ({}, "you@a.b", "backend:3001", "reported to http://backend:3001 as you@a.b"),
    ({}, "", "After sign-in", "once you sign in"),
    ({"state": OutboxState.SENDING}, "you@a.b", "backend:3001", "are reported to"),
    ({"session_id": None}, "you@a.b", "Not reported", "must put a session_id into"),
    ({"session_id": None, "training_id": None}, "", "Not reported", "names no session"),
    ({"backend": "https://x.y"}, "you@a.b", "x.y", "were reported to https://x.y, which is no"),
    (
        {"backend": "https://x.y", "state": OutboxState.WAITING},
        "you@a.b",
        "Waits for x.y",
        "are for https://x.y, and wait",
    ),
    (
        {"state": OutboxState.LOCAL, "remark": "no 7"},
        "you@a.b",
        "Not reported",
        "here: no 7. Then press Retry now.",
    ),
    ({"state": OutboxState.REFUSED, "remark": "bad."}, "you@a.b", "Refused", "contribution"),
]


@pytest.mark.parametrize(("changes", "email", "short", "full"), FATES)
def test_a_swarms_fate_in_words(changes: dict[str, Any], email: str, short: str, full: str) -> None:
    reporting = ReportingState(backend_url="http://backend:3001", signed_in_as=email)
    assert contribution_texts.reported_to(fate(**changes), reporting) == short
    assert full in contribution_texts.fate(fate(**changes), reporting)
    reported = is_reported(fate(**changes), reporting)
    assert reported is (short == "backend:3001")


def test_in_a_swarm_without_a_session_it_promises_nothing(
    bench: Bench, filled: ContributionsPage
) -> None:
    signed_in(bench)
    assert "reported as soon as it is complete" in filled.reports.why.text()
    bench.dispatch(JoinBegan(swarm=replace(SWARM, session_id=None, training_id=None)))
    filled.refresh()
    assert "names no session of a CoTrain backend" in filled.reports.why.text()
    bench.dispatch(JoinBegan(swarm=replace(SWARM, session_id=7)))
    signed_in(bench, kept=(((SWARM.run_id, 7), "the backend lists no session 7"),))
    why = filled.reports.why.text()
    assert why.endswith("are kept here: the backend lists no session 7. Then press Retry now.")


def test_what_the_backend_has_forgotten_is_shown_and_reported_again_by_choice(
    bench: Bench, filled: ContributionsPage, until_done: Run, qtbot: QtBot
) -> None:
    signed_in(bench)
    assert not filled.reports.refill.isVisible()
    outbox = bench.session.contributions.ledger.outbox
    until_done(outbox.run(recall.mark_forgotten, [given(1).id], 1.0))
    qtbot.waitUntil(filled.reports.refill.isVisible)
    assert filled.reports.forgotten.text().startswith("The backend no longer knows 1 contribution")
    for refill, visible in (("never", False), ("ask", True)):
        settings = changed(bench.session.store.settings, {"refill": refill})
        bench.session.store.replace_settings(settings)
        filled.refresh()
        assert filled.reports.refill.isVisible() is visible
    assert "Report again" in filled.reports.forgotten.text()


# --- export --------------------------------------------------------------------------------------


def test_exports_can_be_checked(filled: ContributionsPage, tmp_path: Path, qtbot: QtBot) -> None:
    for name in ("all.json", "all.csv"):
        filled.export_to(tmp_path / name)
        qtbot.waitUntil(lambda name=name: name in filled.note.text())
        assert filled.note.text().startswith("5 contributions were written")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 6
    document = json.loads((tmp_path / "all.json").read_bytes())
    assert [item["state"] for item in document["contributions"]].count("refused") == 2


def test_export_that_fails_says_why(
    bench: Bench, filled: ContributionsPage, tmp_path: Path, qtbot: QtBot
) -> None:
    filled.export_to(tmp_path / "nowhere" / "all.json")
    qtbot.waitUntil(filled.note.isVisible)
    assert "can't be written" in filled.note.text()
    assert bench.session.store.state.problem is None


# --- on the overview -----------------------------------------------------------------------------


def test_overview_shows_what_was_given_today(
    bench: Bench, filled: ContributionsPage, qtbot: QtBot
) -> None:
    bench.dispatch(*TRAINING)
    bench.open("Overview")
    given_today = bench.window.overview.given_today
    qtbot.waitUntil(lambda: given_today.value("samples") == "3,160")
    assert given_today.value("confirmed") == "1"
    assert given_today.value("waiting") == "1"


@pytest.mark.parametrize("size", [(1280, 800), (960, 600)])
def test_nothing_is_clipped(
    bench: Bench, filled: ContributionsPage, qtbot: QtBot, size: tuple[int, int]
) -> None:
    bench.window.resize(*size)
    bench.dispatch(*TRAINING)
    signed_in(bench, status=ReportingStatus.FAILING, reason="It is away. " * 20)
    qtbot.waitUntil(lambda: clipped(bench.window) == [])
