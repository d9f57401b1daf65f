"""The timeline's file: each line is there at once, and a file that can't be used stops nothing."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from app.state.events import Left
from app.state.state import ContributorState
from app.timeline.keeper import TimelineKeeper
from app.timeline.timeline import MOST, HappeningKind, Timeline

Kind = HappeningKind


class App:
    """The app from its start to its end, as far as the timeline knows it."""

    def __init__(self, file: Path) -> None:
        self.timeline = Timeline()
        self.keeper = TimelineKeeper(self.timeline, file=file)

    async def happens(self, kind: Kind, detail: str = "") -> None:
        self.timeline.add(kind, detail)
        self.keeper.note(Left(), ContributorState())
        await self.keeper._saving

    def kinds(self) -> list[Kind]:
        return [each.kind for each in self.timeline.last]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "timeline.sqlite"


async def test_what_happened_outlives_the_app(file: Path) -> None:
    first = App(file)
    await first.keeper.open()
    await first.happens(Kind.CRASHED, "signal 9.")
    await first.keeper.close()
    await first.keeper.close()
    second = App(file)
    await second.keeper.open()
    assert second.kinds() == [Kind.OPENED, Kind.CRASHED, Kind.CLOSED, Kind.OPENED]
    assert second.timeline.last[1].detail == "signal 9."
    assert second.timeline.last[-1].detail == ""
    await second.keeper.close()


async def test_an_app_that_was_killed_says_so_at_its_next_start(file: Path) -> None:
    first = App(file)
    await first.keeper.open()
    await first.happens(Kind.STARTED)
    second = App(file)  # the first one was never closed
    await second.keeper.open()
    assert second.kinds() == [Kind.OPENED, Kind.STARTED, Kind.OPENED]
    assert "killed" in second.timeline.last[-1].detail
    await asyncio.gather(first.keeper.close(), second.keeper.close())


async def test_the_file_stays_small(file: Path) -> None:
    app = App(file)
    await app.keeper.open()
    for _each in range(MOST + 50):
        app.timeline.add(Kind.ROUND_FAILED)
        if app.timeline.count % 100 == 0:
            app.keeper.note(Left(), ContributorState())
            await app.keeper._saving
    await app.keeper.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM happenings").fetchone() == (MOST,)
    connection.close()


async def test_a_kind_of_a_later_version_is_left_out(file: Path) -> None:
    app = App(file)
    await app.keeper.open()
    await app.keeper.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE happenings SET kind = 'abducted' WHERE kind = 'opened'")
    connection.close()
    later = App(file)
    await later.keeper.open()
    assert later.kinds() == [Kind.CLOSED, Kind.OPENED]
    await later.keeper.close()


async def test_a_file_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    app = App(tmp_path / "file" / "timeline.sqlite")
    await app.keeper.open()
    app.timeline.add(Kind.STARTED)
    app.keeper.note(Left(), ContributorState())
    assert app.kinds() == [Kind.OPENED, Kind.STARTED]
    await app.keeper.close()
    assert "the timeline can't be kept" in caplog.text
