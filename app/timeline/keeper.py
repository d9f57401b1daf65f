"""Keeps the timeline on the disk (SQLite), each happening at once: a crash must leave its trace.

Where the file can't be used, the timeline begins anew.
"""

import sqlite3
from pathlib import Path

from app.common.background import Background
from app.common.database import DatabaseThread, Migrations, transaction
from app.common.i18n import _
from app.state.events import Event
from app.state.state import ContributorState
from app.timeline.timeline import MOST, Happening, HappeningKind, Timeline

FILE_NAME = "timeline.sqlite"
"""In the data folder."""

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE happenings (
            number INTEGER PRIMARY KEY,
            time REAL NOT NULL,
            kind TEXT NOT NULL,
            detail TEXT NOT NULL
        ) STRICT
        """,
    ),
)


class TimelineKeeper:
    """Between the timeline and its file, from `open` to `close`.

    timeline: has taken each event into account before `note` is called with it.
    """

    def __init__(self, timeline: Timeline, *, file: Path) -> None:
        self._timeline = timeline
        self._file = DatabaseThread(file, migrations=MIGRATIONS, name="the timeline")
        self._background = Background()
        self._written = 0
        self._is_open = False

    async def open(self) -> None:
        """Open the file, and put what it has before what has happened since the app started."""
        await self._file.open()
        earlier = await self._file.run(_read) or []
        self._timeline.restore(earlier)
        text = ""
        if earlier and earlier[-1].kind is not HappeningKind.CLOSED:
            text = _("It had not been closed before: it was killed, or the computer went off.")
        self._timeline.add(HappeningKind.OPENED, text)
        self._is_open = True
        self._save()

    def note(self, _event: Event, _state: ContributorState) -> None:
        """Listen to events: write what is new."""
        self._save()

    def _save(self) -> None:
        new = self._timeline.count - self._written
        if self._is_open and new:
            self._written = self._timeline.count
            self._saving = self._background.start(self._write(self._timeline.last[-new:]))

    async def _write(self, happenings: tuple[Happening, ...]) -> None:
        await self._file.run(_append, happenings)

    async def close(self) -> None:
        """Write that the app was closed, and close the file. May be called twice."""
        if self._is_open:
            self._timeline.add(HappeningKind.CLOSED)
            self._save()
            self._is_open = False
            await self._saving
        await self._background.close()
        await self._file.close()


def _append(connection: sqlite3.Connection, happenings: tuple[Happening, ...]) -> None:
    with transaction(connection):
        connection.executemany(
            "INSERT INTO happenings (time, kind, detail) VALUES (?, ?, ?)",
            [(each.time, each.kind.value, each.detail) for each in happenings],
        )
        connection.execute(
            "DELETE FROM happenings WHERE number <= (SELECT max(number) FROM happenings) - ?",
            (MOST,),
        )


def _read(connection: sqlite3.Connection) -> list[Happening]:
    rows = connection.execute(
        "SELECT time, kind, detail FROM happenings ORDER BY number"
    ).fetchall()
    known = set(HappeningKind)  # a later version of the app may have others
    return [
        Happening(time=row["time"], kind=HappeningKind(row["kind"]), detail=row["detail"])
        for row in rows
        if row["kind"] in known
    ]
