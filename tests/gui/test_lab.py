"""The lab's commands in the window: which machines are meant, and what became of each."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from app.lab.admin import CommandOutcome, Silence
from app.lab.messages import LabCommand, LabVerdict, StopTraining
from app.p2p.machine_records import LEFT
from app.state.events import LabCommanded
from app.state.facts import LabDeed
from app.swarm.fleet import Machine
from tests.support.gui.windows import WATCHING, Bench
from tests.support.machine.machines import record
from ui.dialogs.lab.dialog import LabDialog
from ui.pages.machines.page import MachinesPage
from ui.texts import lab as lab_texts
from ui.texts.news import news

pytestmark = pytest.mark.gui


@pytest.fixture
def page(bench: Bench) -> MachinesPage:
    bench.dispatch(*WATCHING)
    bench.open("Machines")
    made = bench.window.machines.widget
    assert isinstance(made, MachinesPage)
    told = {
        f"key-{name}": record(alias=name, time=time.time(), state=state)
        for name, state in (("a", "watching"), ("b", "training"), ("c", LEFT))
    }
    made._machines.fleet.take(told, time.time())
    made.refresh()
    return made


@pytest.fixture
def dialog(bench: Bench, page: MachinesPage, qtbot: QtBot) -> Iterator[LabDialog]:
    page.command.click()
    made = bench.window.findChild(LabDialog)
    assert isinstance(made, LabDialog)
    qtbot.waitUntil(lambda: len(made.key.text()) == 44)
    yield made
    if isValid(made):
        made.reject()


def aliases(machines: list[Machine]) -> list[str]:
    return [machine.record.alias for machine in machines]


def rows(dialog: LabDialog) -> list[str]:
    return [dialog.list.item(place).text() for place in range(dialog.list.count())]


def choose(dialog: LabDialog, action: str) -> None:
    dialog.what.setCurrentIndex(dialog.what.findData(action))


def test_all_that_can_be_called_or_those_that_are_selected(page: MachinesPage) -> None:
    assert aliases(page.command.chosen()) == ["a", "b"]
    select = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
    place = page.model.row_of("key-b")
    assert place is not None
    page.table.selectionModel().select(page.model.index(place, 0), select)
    assert aliases(page.command.chosen()) == ["b"]


def test_without_a_machine_to_command_the_button_says_why(page: MachinesPage) -> None:
    assert page.command.isEnabled()
    assert page.command.toolTip() == ""
    page._machines.public_key = "key-a"
    page.refresh()
    for name, may in (("a", False), ("b", True), ("c", False)):
        place = page.model.row_of(f"key-{name}")
        assert place is not None
        page.table.selectRow(place)
        assert page.command.isEnabled() is may
        assert ("None of the selected" in page.command.toolTip()) is not may
    page.table.clearSelection()
    assert page.command.isEnabled()
    page.text.setText("no such machine")
    assert "No other machine" in page.command.toolTip()
    assert not page.command.isEnabled()
    page.text.setText("")
    assert page.command.isEnabled()


def test_what_a_command_needs_is_asked_for(dialog: LabDialog) -> None:
    assert rows(dialog) == ["a", "b"]
    for action in lab_texts.commands():
        choose(dialog, action)
        needs = action in lab_texts.hints()
        assert dialog.value.isVisibleTo(dialog) is needs
        assert dialog.send.isEnabled() is not needs
    choose(dialog, "pause")
    dialog.value.setText("30")
    assert dialog.send.isEnabled()


@pytest.mark.parametrize(
    ("action", "text", "problem"),
    [
        ("start", "", "in no swarm"),
        ("pause", "soon", "minutes"),
        ("set", "threads", "NAME=VALUE"),
        ("move", "no invite", "No such file"),
    ],
)
def test_what_is_wrong_is_said(
    dialog: LabDialog, qtbot: QtBot, action: str, text: str, problem: str
) -> None:
    choose(dialog, action)
    dialog.value.setText(text)
    qtbot.mouseClick(dialog.send, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.error.isVisible)
    assert problem in dialog.error.text()
    assert not dialog.error.text().startswith(f"{action}: ")
    assert dialog.send.isEnabled()


def test_each_machine_has_its_outcome(dialog: LabDialog) -> None:
    first, second = dialog._machines
    dialog._told(CommandOutcome(machine=first, outcome=LabVerdict.DONE))
    told = CommandOutcome(machine=second, outcome=Silence.UNPAIRED, text="who\x1b[2J")
    dialog._told(told)
    assert rows(dialog)[0].endswith("done")
    assert "not paired" in rows(dialog)[1]
    assert "\x1b" not in rows(dialog)[1]


def test_one_command_at_a_time(
    dialog: LabDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def command(_action: str, _text: str) -> LabCommand:
        await go_on.wait()
        return StopTraining()

    monkeypatch.setattr(dialog, "_command", command)
    dialog.send.click()
    for action in lab_texts.commands():
        choose(dialog, action)
        dialog.value.setText("30")
        assert not dialog.send.isEnabled()
    go_on.set()
    qtbot.waitUntil(dialog.send.isEnabled)


def test_an_outcome_leaves_the_other_rows_and_the_place_in_the_list(dialog: LabDialog) -> None:
    first, second = (dialog.list.item(place) for place in range(2))
    dialog.list.setCurrentRow(1)
    dialog._told(CommandOutcome(machine=dialog._machines[0], outcome=LabVerdict.DONE))
    assert (dialog.list.item(0), dialog.list.item(1)) == (first, second)
    assert dialog.list.currentRow() == 1


def test_what_is_told_after_it_was_closed_is_ignored(
    bench: Bench, dialog: LabDialog, qtbot: QtBot
) -> None:
    dialog.close_button.click()
    qtbot.waitUntil(lambda: not isValid(dialog))
    dialog._told(CommandOutcome(machine=dialog._machines[0], outcome=LabVerdict.DONE))
    dialog._model.run(dialog._do_send("start", ""))  # refused: there is no swarm's node
    qtbot.waitUntil(lambda: bench.session.store.state.problem is not None)


def test_each_outcome_has_words() -> None:
    for each in (*LabVerdict, *Silence):
        assert lab_texts.outcome(each)


def test_who_sits_at_the_machine_is_told(bench: Bench) -> None:
    before = bench.session.store.state
    deed = LabDeed(command="stop", lab="AbCd…", verdict="done", text="", number=1)
    bench.dispatch(LabCommanded(deed=deed))
    found = news(before, bench.session.store.state)
    assert found is not None
    assert "stop" in found.text
    assert "AbCd…" in found.text
    assert news(bench.session.store.state, bench.session.store.state) is None
    last = bench.session.timeline.last[-1]
    assert "stop" in last.detail
