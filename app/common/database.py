"""Open a SQLite file: check it, migrate it to the current schema, set a damaged one aside."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.common.errors import DatabaseError
from app.common.i18n import _
from app.common.paths import name_aside

log = logging.getLogger(__name__)

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
        return _open(path, migrations), None
    except DamagedError as error:
        aside = _set_aside(path)
        log.warning("%s is damaged (%s) and was set aside as %s", path, error, aside)
        return _open(path, migrations), aside


def _open(path: Path, migrations: Migrations) -> sqlite3.Connection:
    try:
        _create(path)
        connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
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
    return _unusable(path, error)


def _unusable(path: Path, error: Exception) -> DatabaseError:
    return DatabaseError(
        _("this file can't be opened: {reason}.").format(reason=error),
        field=str(path),
        remedy=_("Check that the disk isn't full and that you may write there."),
    )
