"""The swarm page: peers, rounds and the epoch."""

import time

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app import protocol
from app.p2p.sightings import PartFault, PeerInfo, Run
from app.state.events import PeersListed, RunObserved
from tests.support.gui.windows import TRAINING, WATCHING, Bench
from tests.support.machine.machines import record
from ui.pages.swarm.page import SwarmPage
from ui.texts import units

pytestmark = pytest.mark.gui

PEER, ALIAS, ROLE, AVERAGING, ADDRESS, WAY, LATENCY, SEEN = range(8)


def peer(number: int, **changes: object) -> PeerInfo:
    values = {
        "peer_id": f"Qm{number:044d}",
        "address": f"/ip4/10.0.{number // 250}.{number % 250}/tcp/8080",
        "last_seen": time.time(),
        "latency": 0.001 * number,
    }
    return PeerInfo(**values | changes)  # type: ignore[arg-type]


@pytest.fixture
def page(bench: Bench) -> SwarmPage:
    bench.dispatch(*WATCHING)
    bench.open("Swarm")
    return bench.window.swarm.widget


def column(page: SwarmPage, place: int) -> list[str]:
    return [page.peers.index(row, place).data() for row in range(page.peers.rowCount())]


def test_no_swarm_yet(bench: Bench) -> None:
    bench.open("Swarm")
    page = bench.window.swarm.widget
    assert page.empty.isVisible()
    assert not page.content.isVisible()
    bench.dispatch(*WATCHING)
    assert page.content.isVisible()
    assert page.title.full == "Python's documentation"


def test_alone_in_the_swarm_says_so(bench: Bench, page: SwarmPage) -> None:
    page.refresh()
    assert not page.no_peers.isVisible()
    bench.session.history.peers.clear()
    page.refresh()
    assert (page.no_peers.isVisible(), page.peers_table.isVisible()) == (True, False)


def test_peers_with_all_that_is_known(bench: Bench, page: SwarmPage) -> None:
    trainer = peer(1)
    relayed = peer(2, relayed=True, latency=1.25)
    unknown = peer(3, address="", latency=None)
    run = Run(trainers=1, trainer_ids=frozenset({trainer.peer_id}))
    told = record(time=time.time(), alias="lab-01", peer_ids=(trainer.peer_id,))
    bench.session.machines.fleet.take({"key": told}, time.time())
    bench.dispatch(
        PeersListed(peers=(trainer, relayed, unknown), dht_nodes=23), RunObserved(run=run)
    )
    page.refresh()
    assert column(page, ALIAS) == ["lab-01", "–", "–"]
    assert column(page, ROLE) == ["trainer", "observer", "observer"]
    assert column(page, WAY) == ["direct", "relayed", "–"]
    assert column(page, LATENCY) == ["1 ms", "1.2 s", "–"]
    assert column(page, SEEN) == ["now"] * 3
    assert page.peers.index(0, PEER).data(Qt.ItemDataRole.ToolTipRole) == trainer.peer_id
    assert page.reach.text() == "23 network nodes within reach"
    assert page.show_peers.text() == "3 peers connected"


def test_peer_that_left_stays_for_a_while(bench: Bench, page: SwarmPage) -> None:
    bench.dispatch(PeersListed(peers=(peer(1, last_seen=time.time() - 250), peer(2))))
    bench.dispatch(PeersListed(peers=(peer(2),)))
    page.refresh()
    assert column(page, SEEN) == ["now", "4 min ago"]
    assert page.show_peers.text() == "1 peer connected"


def test_keyboard_stays_at_its_row_when_others_come_and_go(
    bench: Bench, page: SwarmPage, qtbot: QtBot
) -> None:
    table = page.peers_table
    bench.dispatch(PeersListed(peers=tuple(map(peer, range(10, 60)))))
    page.refresh()
    table.selectRow(3)
    table.verticalScrollBar().setValue(table.verticalScrollBar().maximum())
    before = table.verticalScrollBar().value()
    bench.dispatch(PeersListed(peers=tuple(map(peer, range(5, 60)))))
    page.refresh()
    assert table.currentIndex().row() == 8
    assert [index.row() for index in table.selectionModel().selectedRows()] == [8]
    assert table.verticalScrollBar().value() == before  # the user is reading elsewhere
    qtbot.keyClick(table, Qt.Key.Key_Down)
    assert page.peers.shown[table.currentIndex().row()].info == peer_at(page, 14)


def peer_at(page: SwarmPage, number: int) -> PeerInfo:
    return next(row.info for row in page.peers.shown if row.info.peer_id == peer(number).peer_id)


def test_filter_by_text_and_role(bench: Bench, page: SwarmPage, qtbot: QtBot) -> None:
    run = Run(trainers=1, trainer_ids=frozenset({peer(7).peer_id}))
    bench.dispatch(PeersListed(peers=tuple(map(peer, range(20)))), RunObserved(run=run))
    page.refresh()
    page.role.setCurrentIndex(1)
    assert column(page, ADDRESS) == ["/ip4/10.0.0.7/tcp/8080"]
    page.role.setCurrentIndex(0)
    qtbot.keyClicks(page.text, "10.0.0.1")
    assert page.peers.rowCount() == 11


def test_thousand_peers_sorted_by_latency(bench: Bench, page: SwarmPage) -> None:
    bench.dispatch(PeersListed(peers=tuple(map(peer, range(1000)))))
    begun = time.thread_time()
    page.refresh()
    page.peers_table.sortByColumn(LATENCY, Qt.SortOrder.DescendingOrder)
    bench.window.repaint()
    assert time.thread_time() - begun < 20.0  # generous, as for the machines
    assert column(page, LATENCY)[0] == "999 ms"
    assert page.peers.rowCount() == 1000


def test_rounds_newest_first(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    bench.open("Swarm")
    page = bench.window.swarm.widget
    for epoch, failure, arrived in ((12, "no group was found", 1.0), (13, "", 0.5)):
        ended = protocol.RoundEnded(
            epoch=epoch, peers=7, seconds=2.5, samples=80, failure=failure, arrived=arrived
        )
        bench.dispatch(ended)
    page.refresh()
    qtbot.mouseClick(page.show_rounds, Qt.MouseButton.LeftButton)
    assert page.rounds_table.isVisible()
    assert not page.text.isVisible()
    results = [page.rounds.index(row, 6).data() for row in range(3)]
    assert results == [
        "50\u00a0% of the parts arrived",
        "failed: no group was found",
        "all succeeded",
    ]
    assert page.rounds.index(0, 1).data() == "13"


def test_no_round_yet_says_why(page: SwarmPage, qtbot: QtBot) -> None:
    qtbot.mouseClick(page.show_rounds, Qt.MouseButton.LeftButton)
    assert page.no_rounds.isVisible()
    assert "while it trains" in page.no_rounds.text.text()


def test_epoch_of_the_run(bench: Bench, page: SwarmPage) -> None:
    bench.dispatch(*TRAINING)
    assert page.epoch.title.text() == "Epoch 12"
    assert "next averaging in about 6 s" in page.epoch.health.full


def test_who_only_watches_is_told_when_the_swarm_averages(page: SwarmPage) -> None:
    assert page.epoch.title.text() == "Epoch 12"
    assert page.epoch.swarm.text() == "2,928 of 4,096 samples by the swarm"
    assert page.epoch.health.full == "next averaging in about 2 s"


def at_fault(fault: PartFault, *, peer: str, until: float | None = None) -> protocol.MemberAtFault:
    return protocol.MemberAtFault(
        peer_id=peer, fault=fault, epoch=17, time=time.time(), evicted_until=until
    )


def test_offender_is_named_in_one_sentence(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    bench.open("Swarm")
    page = bench.window.swarm.widget
    hostile, slow = peer(1).peer_id, peer(2).peer_id
    until = time.time() + 600.0
    bench.dispatch(
        PeersListed(peers=(peer(1), peer(2), peer(3))),
        at_fault(PartFault.SILENT, peer=slow),
        *(at_fault(PartFault.NOT_FINITE, peer=hostile, until=until) for _ in range(3)),
    )
    page.refresh()
    assert page.show_faults.text() == "2 faults"
    qtbot.mouseClick(page.show_faults, Qt.MouseButton.LeftButton)
    assert page.faults_table.isVisible()
    said = {page.faults.index(row, 2).data(): page.faults.index(row, 1).data() for row in (0, 1)}
    assert said[slow] == f"{units.shortened(slow)} did not answer in time, once, last in epoch 17."
    assert said[hostile] == (
        f"{units.shortened(hostile)} sent values that are not finite, 3 times, last in epoch 17;"
        f" it is left out until {units.clock(until)}."
    )
    assert sorted(column(page, AVERAGING)) == ["left out", "slow", "–"]


def test_without_faults_the_page_says_what_would_be_there(page: SwarmPage, qtbot: QtBot) -> None:
    page.refresh()
    qtbot.mouseClick(page.show_faults, Qt.MouseButton.LeftButton)
    assert page.no_faults.isVisible()
