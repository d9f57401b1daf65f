"""Open a SQLite file: check it, migrate it to the current schema, set a damaged one aside."""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from app.common.errors import DatabaseError
from app.common.i18n import _
from app.common.paths import name_aside

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LOCK_SECONDS = 5.0
"""How long to wait for another program's lock on the file."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Migrations = Sequence[Sequence[str]]
"""Element n holds the SQL statements that lead from version n to n + 1; version 0 is an empty file.
Elements are only ever appended, since users have files of every version."""


class DamagedError(Exception):
    """The file isn't a valid SQLite database any more."""


def open_database(path: Path, *, migrations: Migrations) -> tuple[sqlite3.Connection, Path | None]:
    """Open or create the file; returns a connection, and the new path of a damaged file.

    The connection is in autocommit mode and for the calling thread only. The path is None unless
    a damaged file was renamed to make room for a new one. Raises `DatabaseError` when the file
    can't be opened or written, or was written by a later version of this app.
    """
    try:
        return open_sound(path, migrations=migrations), None
    except DamagedError as error:
        aside = _set_aside(path)
        log.warning("%s is damaged (%s) and was set aside as %s", path, error, aside)
        return open_sound(path, migrations=migrations), aside


def open_sound(path: Path, *, migrations: Migrations) -> sqlite3.Connection:
    """As `open_database`, but raises `DamagedError` for a damaged file, and leaves it there."""
    try:
        _create(path)
        connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        try:
            _prepare(connection)
            _migrate(connection, migrations, path)
        except sqlite3.Error as error:
            raise _as_app_error(path, error) from error
        on_failure.pop_all()
    return connection


def _create(path: Path) -> None:
    """Create the file with mode 0600; SQLite gives the same mode to its -wal and -shm files."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise DamagedError(verdict)


def _migrate(connection: sqlite3.Connection, migrations: Migrations, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise DatabaseError(
            _("this file was written by a later version of this app."),
            field=str(path),
            remedy=_("Update the app, or give it another folder with --data-dir."),
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the statements of the block, or roll all of them back when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _set_aside(path: Path) -> Path:
    """Rename the file and SQLite's files beside it to an unused name."""
    aside = name_aside(path)
    for ending in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def _as_app_error(path: Path, error: sqlite3.Error) -> Exception:
    # The low byte is the primary result code; higher bytes hold the extended one.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return DamagedError(str(error))
    return unusable(path, error)


def unusable(path: Path, error: Exception) -> DatabaseError:
    """The error for a file that can't be opened, or not written at once."""
    return DatabaseError(
        _("this file can't be opened: {reason}.").format(reason=error),
        field=str(path),
        remedy=_("Check that the disk isn't full and that you may write there."),
    )


def unreadable(path: Path, error: sqlite3.Error) -> DatabaseError:
    """The error for a file whose reading failed."""
    return DatabaseError(
        _("this file can't be read: {reason}.").format(reason=error), field=str(path)
    )


class DatabaseThread:
    """A SQLite file for what the app can do without, on a thread of its own.

    Nothing here may keep anybody from training: what fails is told in the log, once, and all that
    was to be read or written then is left out.

    name: what the file holds, for the log.
    """

    def __init__(self, path: Path, *, migrations: Migrations, name: str) -> None:
        self._path, self._migrations, self._name = path, migrations, name
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem)
        self._connection: sqlite3.Connection | None = None
        self._complained = False

    @property
    def is_open(self) -> bool:
        """Whether `run` does anything."""
        return self._connection is not None

    async def open(self) -> None:
        """Open or create the file, if it can be used."""
        opening = partial(open_database, self._path, migrations=self._migrations)
        try:
            connection, _aside = await self._run(opening)
            # A power cut may cost the last writes, which aren't worth waiting for.
            await self._run(partial(connection.execute, "PRAGMA synchronous = NORMAL"))
            await self._run(partial(connection.execute, "PRAGMA foreign_keys = ON"))
            self._connection = connection
        except (DatabaseError, sqlite3.Error) as error:
            self._complain(error)

    async def run(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | None:
        """Call a function with the connection on the thread, one call after the other.

        Returns its result; None where the file isn't open, or the call failed.
        """
        if self._connection is None:
            return None
        try:
            return await self._run(partial(work, self._connection, *args, **kwargs))
        except sqlite3.Error as error:
            self._complain(error)
            return None

    def _complain(self, error: BaseException) -> None:
        if not self._complained:
            log.warning("%s can't be kept: %s: %s", self._name, self._path, error)
        self._complained = True

    async def close(self) -> None:
        """Close the file after all that was to be done, and end the thread. May be called twice,
        and without `open`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._run(connection.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
