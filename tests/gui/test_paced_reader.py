"""What reads the ledger after its changes: one reading at a time, and some time apart."""

import asyncio

import pytest
from pytestqt.qtbot import QtBot

from app.common.errors import UserFacingError
from tests.support.gui.windows import Bench
from ui.models import paced_reader
from ui.models.paced_reader import PacedReader

pytestmark = pytest.mark.gui

HOUR_MS = 3_600_000


class Readings:
    """Readings that take until they are told to end. begun: how many there were."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()

    async def read(self) -> None:
        self.begun += 1
        await self.end.wait()


def test_changes_during_a_reading_make_one_more(bench: Bench, qtbot: QtBot) -> None:
    readings = Readings()
    reader = PacedReader(bench.model, readings.read)
    for _change in range(100):
        reader.want()
    qtbot.waitUntil(lambda: readings.begun == 1)
    for _change in range(100):
        reader.want()
    readings.end.set()
    qtbot.waitUntil(lambda: readings.begun == 2)
    qtbot.waitUntil(lambda: not reader._reading and not reader._rest.isActive())
    assert readings.begun == 2
    reader.want()
    qtbot.waitUntil(lambda: readings.begun == 3)
    reader.close()


def test_it_rests_after_a_reading_and_forgets_no_change(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced_reader, "REST_MS", HOUR_MS)
    readings = Readings()
    readings.end.set()
    reader = PacedReader(bench.model, readings.read)
    reader.want()
    qtbot.waitUntil(reader._rest.isActive)
    reader.want()
    assert not reader._reading
    reader._rest.setInterval(0)  # the hour is over
    qtbot.waitUntil(lambda: readings.begun == 2)
    reader.close()


def test_a_closed_one_reads_no_more(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings()
    reader = PacedReader(bench.model, readings.read)
    reader.want()
    qtbot.waitUntil(lambda: readings.begun == 1)
    reader.want()
    for _time in range(2):
        reader.close()
    readings.end.set()
    qtbot.waitUntil(lambda: not reader._reading)
    reader.want()
    assert not reader._reading
    assert not reader._rest.isActive()


def test_a_reading_that_fails_is_a_problem_and_not_the_last(bench: Bench, qtbot: QtBot) -> None:
    begun: list[int] = []

    async def read() -> None:
        begun.append(1)
        raise UserFacingError("it broke.")

    reader = PacedReader(bench.model, read)
    reader.want()
    qtbot.waitUntil(lambda: bench.session.store.state.problem is not None)
    reader.want()
    qtbot.waitUntil(lambda: len(begun) == 2)
    reader.close()
