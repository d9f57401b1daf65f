"""The connection check, and the notice that the swarm can't be reached."""

import time

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QSignalSpy
from pytestqt.qtbot import QtBot

from app.state.events import ConnectionChanged, JoinFailed, Left, ReturnChanged
from app.state.facts import Problem, Returning
from tests.support.gui.windows import FINDINGS, TRAINING, WATCHING, Bench
from ui.dialogs.connection_check import ConnectionCheckDialog, FindingRow
from ui.texts import states as texts

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
PATIENCE_MS = 10_000
NOBODY = Problem(message="nobody can be reached.", field="initial_peers", remedy="Try again.")


@pytest.fixture
def dialog(bench: Bench) -> ConnectionCheckDialog:
    bench.session.findings = list(FINDINGS)
    bench.actions.check_wanted.emit()
    made = bench.window.dialogs._shown["check"]
    assert isinstance(made, ConnectionCheckDialog)
    assert "Checking" in made.summary.text()
    assert not made.copy.isEnabled()
    assert QSignalSpy(made.checked).wait(PATIENCE_MS)
    return made


def test_each_finding_has_a_row_in_words(dialog: ConnectionCheckDialog) -> None:
    rows = dialog.findChildren(FindingRow)
    assert len(rows) == len(FINDINGS)
    verdicts = ("[fine]", "[problem]", "[take care]", "[not known]")
    for row, finding, verdict in zip(rows, FINDINGS, verdicts, strict=True):
        name = row.accessibleName()
        assert name.startswith(verdict)
        assert finding.text in name
        assert finding.remedy in name
    assert dialog.summary.text() == "1 problem was found."


def test_it_is_copied_as_text(dialog: ConnectionCheckDialog, qtbot: QtBot) -> None:
    qtbot.mouseClick(dialog.copy, LEFT)
    lines = QGuiApplication.clipboard().text().splitlines()
    assert len(lines) == len(FINDINGS)
    assert lines[0] == "[fine] Port: Port 8080 is free."


def test_it_is_checked_again(bench: Bench, dialog: ConnectionCheckDialog, qtbot: QtBot) -> None:
    bench.session.findings = FINDINGS[:1]
    again = QSignalSpy(dialog.checked)
    qtbot.mouseClick(dialog.again, LEFT)
    assert again.wait(PATIENCE_MS)
    assert bench.session.calls == ["diagnose", "diagnose"]
    assert dialog.findings == FINDINGS[:1]
    assert dialog.summary.text().startswith("Nothing was found")


def test_a_problem_of_the_network_offers_the_check(bench: Bench, qtbot: QtBot) -> None:
    banner = bench.window.banner
    bench.dispatch(*WATCHING, Left(), JoinFailed(problem=NOBODY))
    assert banner.check.isVisible()
    qtbot.mouseClick(banner.check, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["diagnose"])
    bench.dispatch(JoinFailed(problem=Problem(message="is wrong.", field="seed")))
    assert not banner.check.isVisible()


def test_the_swarms_page_offers_it_without_a_swarm(bench: Bench, qtbot: QtBot) -> None:
    bench.open("Swarm")
    qtbot.mouseClick(bench.window.swarm.widget.check, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["diagnose"])


def test_a_lost_swarm_is_said_until_it_is_back(bench: Bench, qtbot: QtBot) -> None:
    notice = bench.window.overview.lost_swarm
    bench.dispatch(*WATCHING)
    assert not notice.isVisible()
    bench.dispatch(ConnectionChanged(reconnect_at=time.time() + 30))
    assert notice.isVisible()
    assert "Trying again in" in notice.words.text()
    qtbot.mouseClick(notice.retry, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["reconnect"])
    bench.dispatch(ConnectionChanged(reconnect_at=None))
    assert not notice.isVisible()


def test_the_way_back_is_counted_down_and_can_be_given_up(bench: Bench, qtbot: QtBot) -> None:
    notice, way_back = bench.window.overview.lost_swarm, bench.session.way_back
    nobody = "none of the 2 peers to enter by can be reached."
    waiting = Returning(title="Poems", retry_at=time.time() + 30, reason=nobody)
    bench.dispatch(ReturnChanged(returning=Returning(title="Poems")))
    assert not notice.isVisible()  # it joins, which the headline says
    bench.dispatch(ReturnChanged(returning=waiting))
    assert notice.isVisible()
    assert "Poems" in notice.words.text()
    assert nobody in notice.words.text()
    assert "Trying again in" in notice.words.text()
    assert bench.window.overview.welcome.isVisible()
    qtbot.mouseClick(notice.retry, LEFT)
    assert way_back._hurry.is_set()
    qtbot.mouseClick(notice.give_up, LEFT)
    assert bench.session.calls == []
    bench.dispatch(ReturnChanged(returning=None))
    assert not notice.isVisible()
    bench.dispatch(*WATCHING, ConnectionChanged(reconnect_at=time.time() + 30))
    assert not notice.give_up.isVisible()


def test_how_a_lost_swarm_is_said(bench: Bench) -> None:
    bench.dispatch(*TRAINING, ConnectionChanged(reconnect_at=100.0))
    assert texts.lost_swarm(bench.session.store.state, 92.0) == (
        "Nobody in the swarm can be reached. Training goes on alone meanwhile. Trying again in 8 s."
    )
    assert texts.lost_swarm(bench.session.store.state, 101.0).endswith("Trying again…")
