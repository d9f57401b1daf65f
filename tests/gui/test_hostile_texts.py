"""Every page and dialog from a state in which every text is hostile: all of it is plain text."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from PySide6.QtCore import QAbstractItemModel, QObject, Qt
from PySide6.QtGui import QAction
from PySide6.QtGui import Qt as GuiQt
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QListWidget,
    QPlainTextEdit,
    QTableView,
    QToolTip,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app import protocol
from app.backend.offers import Offer, OfferPage
from app.common.errors import UserFacingError
from app.common.plain import MOST_IN_LINES
from app.p2p.sightings import PeerInfo, Run
from app.protocol import Device
from app.spec import schema as spec
from app.spec.about import AboutSpec
from app.state.events import (
    DeviceChosen,
    JoinBegan,
    Joined,
    PeersListed,
    ProblemRaised,
    ReleaseFound,
    ReportingChanged,
    RunObserved,
)
from app.state.facts import Problem, Release, ReportingStatus, Swarm
from app.swarm.connection_check import Finding, Grade
from app.swarm.recents import Recent
from tests.support.gui.windows import TRAINING, Bench
from tests.support.machine.machines import record
from tests.support.processes.sessions import train_body
from tests.support.training.specs import PEER, SMALLEST
from tests.support.training.works import contribution
from ui.dialogs.join.dialog import JoinDialog
from ui.pages.log.model import MOST_OF_A_LINE
from ui.widgets.labels import ElidedLabel, label

pytestmark = pytest.mark.gui

MARK = "<img src=/dev/zero><b>bold</b> &amp; "
HOSTILE = MARK + "\x1b[31m\x1b]0;owned\x07\x9b2J\u202egpj.exe\u2066\n\r\n" + "W" * 10_000
FORBIDDEN = frozenset("\x1b\x9b\x07\u202e\u2066\r")
MOST = MOST_IN_LINES + 1000
"""Characters of a label: a text of others, and our own around it."""

WIDEST = 1400
"""Pixels that a window needs at least."""

TITLES = ("Overview", "Swarm", "Model", "Machines", "Devices", "Contributions", "Settings", "Log")


def hostile_state(bench: Bench) -> None:
    """Every text that comes from elsewhere is `HOSTILE`, as if no check had stopped it."""
    bench.dispatch(*TRAINING)
    swarm = Swarm(
        run_id=HOSTILE,
        title=HOSTILE,
        model_type=HOSTILE,
        dataset=HOSTILE,
        target_batch_size=64,
        about=AboutSpec.model_construct(
            **dict.fromkeys(("purpose", "organiser", "licence", "contact"), HOSTILE), until=None
        ),
    )
    peers = (PeerInfo(peer_id=HOSTILE, address=HOSTILE, last_seen=time.time()),)
    reporting = replace(
        bench.session.store.state.reporting,
        backend_url=HOSTILE,
        signed_in_as=HOSTILE,
        status=ReportingStatus.FAILING,
        reason=HOSTILE,
        remedy=HOSTILE,
    )
    bench.dispatch(
        JoinBegan(swarm=swarm),
        Joined(peer_id=HOSTILE, addresses=(HOSTILE,)),
        PeersListed(peers=peers),
        RunObserved(run=Run(epoch=1, samples=1, trainers=1, trainer_ids=frozenset({HOSTILE}))),
        protocol.Devices(devices=(Device(id="cpu", name=HOSTILE, memory=2**30),), torch_version=""),
        DeviceChosen(device="cpu"),
        protocol.RoundEnded(epoch=1, peers=2, seconds=1.0, samples=1, failure=HOSTILE),
        protocol.SampleGenerated(epoch=1, prompt=HOSTILE, text=HOSTILE, time=1.0),
        ProblemRaised(problem=Problem(message=HOSTILE, field=HOSTILE, remedy=HOSTILE)),
        ReleaseFound(release=Release(version=HOSTILE, url=HOSTILE)),
        ReportingChanged(reporting=reporting),
    )
    texts = dict.fromkeys(("alias", "lab", "device", "app_version", "state", "last_error"), HOSTILE)
    machine = record(time=time.time(), peer_ids=(HOSTILE,), **texts)
    bench.session.machines.fleet.take({HOSTILE: machine}, time.time())


# --- what a widget shows


def texts_of(root: QWidget) -> Iterator[tuple[str, str]]:
    """All texts below a widget, with what holds them."""
    for widget in (root, *root.findChildren(QWidget)):
        name = f"{type(widget).__name__} {widget.accessibleName()[:40]!r}"
        match widget:
            case QLabel():
                assert widget.textFormat() is Qt.TextFormat.PlainText, name
                yield name, widget.text()
            case QAbstractButton():
                yield name, widget.text()
            case QComboBox():
                yield from ((name, widget.itemText(place)) for place in range(widget.count()))
            case QListWidget():
                yield from ((name, widget.item(place).text()) for place in range(widget.count()))
            case QPlainTextEdit():
                yield name, widget.toPlainText()
            case QTableView():
                yield from ((name, text) for text in cells(widget.model(), Qt.DisplayRole))
    yield from (("action", action.text()) for action in root.findChildren(QAction))


def cells(model: QAbstractItemModel, role: Qt.ItemDataRole) -> Iterator[str]:
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            yield str(model.index(row, column).data(role) or "")


def tips_of(root: QWidget) -> Iterator[str]:
    parts: list[QObject] = [root, *root.findChildren(QWidget), *root.findChildren(QAction)]
    for part in parts:
        assert isinstance(part, QWidget | QAction)
        yield part.toolTip()
        if isinstance(part, QTableView):
            yield from cells(part.model(), Qt.ItemDataRole.ToolTipRole)


def check(root: QWidget) -> str:
    """All texts are plain and bounded; returns them together. They are painted as well."""
    shown = list(texts_of(root))
    for name, text in shown:
        assert FORBIDDEN.isdisjoint(text), (name, text[:60])
        most = MOST_OF_A_LINE if name.startswith("QPlainTextEdit") else MOST
        assert len(text) <= most, (name, len(text))
    for tip in tips_of(root):
        assert len(tip) <= 2 * MOST, tip[:200]
        if GuiQt.mightBeRichText(tip):
            assert "<img" not in tip, tip[:200]
            assert tip.startswith("<span>"), tip[:200]
    assert root.minimumSizeHint().width() < WIDEST
    assert not root.grab().isNull()
    QApplication.processEvents()
    return "\n".join(text for _name, text in shown)


# --- the pages


@pytest.mark.parametrize("title", TITLES)
def test_page_shows_hostile_texts_as_they_are(
    bench: Bench, until_done: Callable[..., Any], qtbot: QtBot, title: str
) -> None:
    until_done(bench.session.contributions.open())
    ledger = bench.session.contributions.ledger
    until_done(ledger.run(lambda found: found.add(contribution(1, run_id=HOSTILE))))
    until_done(ledger.outbox.run(lambda found: found.begin_sending(contribution(1).id, 1.0)))
    until_done(ledger.outbox.run(lambda found: found.refuse(contribution(1).id, 1.0, HOSTILE)))
    log_hostile_line(bench)
    hostile_state(bench)
    bench.open(title)
    QApplication.processEvents()
    if title == "Machines":
        bench.window.machines.widget.table.selectRow(0)
    if title == "Log":
        qtbot.waitUntil(lambda: bench.window.log.widget.model.rowCount() > 0)
        bench.window.log.widget.table.selectRow(0)
    text = check(bench.window)
    if title not in ("Settings", "Devices", "Contributions"):
        assert MARK in text


def log_hostile_line(bench: Bench) -> None:
    import logging

    bench.ring.emit(logging.LogRecord("trainer.app", logging.INFO, "", 0, "%s", (HOSTILE,), None))


def test_tool_tip_is_shown_as_it_is_written(bench: Bench, qtbot: QtBot) -> None:
    """Qt itself shows it; taken for HTML, the picture would fill the memory."""
    hostile_state(bench)
    bench.open("Machines")
    model = bench.window.machines.widget.model
    tip = model.index(0, 2).data(Qt.ItemDataRole.ToolTipRole)
    assert "&lt;img src=/dev/zero&gt;" in tip
    assert "&amp;amp;" in tip
    QToolTip.showText(bench.window.mapToGlobal(bench.window.rect().center()), tip, bench.window)
    qtbot.waitUntil(QToolTip.isVisible)
    QToolTip.hideText()


# --- the dialogs


def test_join_dialog_shows_hostile_texts_as_they_are(bench: Bench) -> None:
    hostile_state(bench)
    bench.window.dialogs.join()
    dialog = bench.window.dialogs._shown["join"]
    assert isinstance(dialog, JoinDialog)
    slot = {"source": "slot", "label": "corpus", "description": (MARK + "W" * 500)[:500]}
    found = spec.parse(
        {**SMALLEST, "title": (MARK + "W" * 200)[:200], "initial_peers": [PEER]}
        | {"dataset_info": slot, "about": {"purpose": (MARK + "W" * 500)[:500]}}
    )
    dialog.recent.show_recents([Recent(spec=found, joined_at=1.0)])
    problem = UserFacingError(HOSTILE, field=HOSTILE, remedy=HOSTILE)
    offer = Offer(
        title=HOSTILE,
        description=HOSTILE,
        status=HOSTILE,
        wants={HOSTILE: HOSTILE},
        spec=None,
        problem=problem,
    )
    dialog.offered._show_page(OfferPage(offers=(offer,), page=1, pages=1, total=1))
    dialog.invite.show_problem(problem)
    assert check(dialog).count(MARK) > 3
    dialog.show_spec(found)
    dialog.preview.why.setChecked(True)
    dialog.preview.files.rows[0]._refuse(HOSTILE)
    assert check(dialog).count(MARK) > 4


def test_question_about_a_task_shows_hostile_texts_as_they_are(bench: Bench, qtbot: QtBot) -> None:
    from app.tasks.order import Order, interpret
    from app.tasks.task import Task
    from ui.dialogs.consent import ConsentQuestion

    hostile_state(bench)
    body = train_body(user_id=HOSTILE, task_id="t")
    order = replace(Order(caller="10.0.0.7", **body), user_id=HOSTILE)
    meaning = interpret(order)
    task = Task(id="1", order=replace(order, task_id=HOSTILE), meaning=meaning, changed=print)
    question = ConsentQuestion(bench.window, task, bench.session.store.state)
    qtbot.addWidget(question)
    assert MARK in check(question)


def test_connection_check_shows_hostile_texts_as_they_are(bench: Bench, qtbot: QtBot) -> None:
    bench.session.findings = [
        Finding(check=HOSTILE, verdict=Grade.BAD, text=HOSTILE, remedy=HOSTILE)
    ]
    bench.window.dialogs.check()
    dialog = bench.window.dialogs._shown["check"]
    qtbot.waitUntil(lambda: MARK in check(dialog))


def test_labels_bound_a_text() -> None:
    for made in (label(HOSTILE), label(HOSTILE * 10, wrap=True), ElidedLabel(HOSTILE)):
        assert not FORBIDDEN & set(made.text())
        assert len(made.text()) <= MOST_IN_LINES
