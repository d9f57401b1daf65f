"""Keeps the timeline on the disk (SQLite), each happening at once: a crash must leave its trace.

The file is only read and written in a thread. Nothing here may keep anybody from training: a file
that can't be used is told in the log, and the timeline then begins anew.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.common.background import Background
from app.common.database import Migrations, open_database, transaction
from app.common.errors import DatabaseError
from app.common.i18n import _
from app.state.events import Event
from app.state.state import ContributorState
from app.timeline.timeline import MOST, Happening, HappeningKind, Timeline

log = logging.getLogger(__name__)

T = TypeVar("T")

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
        self._path = file
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="timeline")
        self._background = Background()
        self._written = 0
        self._complained = False

    async def open(self) -> None:
        """Open the file, and put what it has before what has happened since the app started."""
        try:
            connection, _aside = await self._run(self._open)
            earlier = await self._run(partial(_read, connection))
            self._connection = connection
        except (DatabaseError, sqlite3.Error) as error:
            self._complain(error)
            earlier = []
        self._timeline.restore(earlier)
        text = ""
        if earlier and earlier[-1].kind is not HappeningKind.CLOSED:
            text = _("It had not been closed before: it was killed, or the computer went off.")
        self._timeline.add(HappeningKind.OPENED, text)
        self._save()

    def _open(self) -> tuple[sqlite3.Connection, Path | None]:
        return open_database(self._path, migrations=MIGRATIONS)

    def note(self, _event: Event, _state: ContributorState) -> None:
        """Listen to events: write what is new."""
        self._save()

    def _save(self) -> None:
        new = self._timeline.count - self._written
        if self._connection is None or not new:
            return
        self._written = self._timeline.count
        self._saving = self._background.start(self._write(self._timeline.last[-new:]))

    async def _write(self, happenings: tuple[Happening, ...]) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            await self._run(partial(_append, connection, happenings))
        except sqlite3.Error as error:
            self._complain(error)

    def _complain(self, error: BaseException) -> None:
        if not self._complained:
            log.warning("the timeline can't be kept: %s: %s", self._path, error)
        self._complained = True

    async def close(self) -> None:
        """Write that the app was closed, and close the file. May be called twice."""
        connection = self._connection
        if connection is not None:
            self._timeline.add(HappeningKind.CLOSED)
            self._save()
            await self._saving
            self._connection = None
            await self._run(connection.close)
        await self._background.close()
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


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
