"""Reads what is left in a damaged ledger, and puts it into the new one.

A row counts only if its signature fits, so nothing half overwritten is taken. What waited is in
doubt afterwards, since the damage may have lost that it was sent: the delivery asks the backend
before it sends it again.
"""

import contextlib
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.common.database import Migrations, open_database, transaction
from app.common.signing import canonical, from_text, verify
from app.contributions.outbox import OutboxState, entry_of_row

log = logging.getLogger(__name__)

PAGE_BYTES = 4096
"""SQLite's default, which our files have."""

LEAST_ROW_BYTES = 200
"""No row is smaller; for a bound on how many there can be."""


def recover(damaged: Path, *, into: sqlite3.Connection, migrations: Migrations) -> int:
    """Copy all rows that can be read from a damaged file into a new one; returns how many.

    The damaged file stays as it is. Takes up to some seconds.
    """
    try:
        with tempfile.TemporaryDirectory(dir=damaged.parent, prefix="recovery-") as folder:
            copy = Path(folder) / "ledger.sqlite"
            _copy(damaged, copy)
            rows = list(_readable(copy))
            if not rows:  # the first page is damaged: all that is in it is the same in each ledger
                _copy(damaged, copy)
                _replace_first_page(copy, migrations)
                rows = list(_readable(copy))
    except OSError as error:
        log.warning("%s can't be recovered: %s", damaged, error)
        return 0
    with transaction(into):
        written = sum(_write(into, row) for row in rows)
    log.warning("recovered %d contributions from %s", written, damaged)
    return written


def _copy(damaged: Path, copy: Path) -> None:
    for ending in ("", "-wal"):
        source, target = (path.with_name(path.name + ending) for path in (damaged, copy))
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
    copy.with_name(copy.name + "-shm").unlink(missing_ok=True)


def _replace_first_page(copy: Path, migrations: Migrations) -> None:
    """Write the first page of an empty ledger: the header, and where the table begins."""
    empty = copy.with_name("empty.sqlite")
    connection, _aside = open_database(empty, migrations=migrations)
    connection.close()
    content = bytearray(copy.read_bytes())
    first = bytearray(empty.read_bytes()[:PAGE_BYTES])
    first[28:32] = (len(content) // PAGE_BYTES).to_bytes(4, "big")  # number of pages
    content[:PAGE_BYTES] = first
    copy.write_bytes(content)


# --- reading -------------------------------------------------------------------------------------


def _readable(file: Path) -> Iterator[dict[str, Any]]:
    """The sound rows of a damaged file, by the names of their columns."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA writable_schema = ON")  # reads files that were cut off
            most = file.stat().st_size // LEAST_ROW_BYTES
            for row in _rows(connection, most=most):
                values = {"backend": None, **dict(row)}
                if _is_sound(values):
                    yield values
        except sqlite3.Error as error:
            log.info("no further rows can be read: %s", error)


def _rows(connection: sqlite3.Connection, *, most: int) -> Iterator[sqlite3.Row]:
    """All rows in pages that can be read. most: how far to look behind the last of them."""
    start, beyond = 1, most
    while start <= beyond:
        with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
            found = connection.execute(
                "SELECT * FROM contributions NOT INDEXED WHERE number >= ? ORDER BY number",
                (start,),
            )
            for row in found:
                if row["number"] < start:  # the pages lead back to where we were
                    break
                start = row["number"] + 1
                beyond = start + most
                yield row
            else:
                return
        start = _next_readable(connection, start, beyond)


def _next_readable(connection: sqlite3.Connection, start: int, beyond: int) -> int:
    """The first number after ``start`` whose page can be read."""
    for number in range(start + 1, beyond + 1):
        try:
            connection.execute(
                "SELECT * FROM contributions NOT INDEXED WHERE number = ?", (number,)
            ).fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            continue
        return number
    return beyond + 1


def _is_sound(values: dict[str, Any]) -> bool:
    try:
        entry = entry_of_row(values)
        contribution = entry.contribution
        if entry.state is OutboxState.OPEN:
            return True  # signed only when it ends
        return verify(
            contribution.public_key,
            canonical(contribution.document()),
            from_text(contribution.signature),
        )
    except (ValueError, TypeError, OverflowError, LookupError, AttributeError):
        return False


# --- writing -------------------------------------------------------------------------------------


def _write(connection: sqlite3.Connection, values: dict[str, Any]) -> bool:
    """Add a row; False if it is there already, or if SQLite refuses one of its values."""
    entry = entry_of_row(values)
    row = asdict(entry.contribution) | {
        "score": entry.contribution.score,
        "state": OutboxState.SENDING if entry.state is OutboxState.WAITING else entry.state,
        "attempts": entry.attempts,
        "attempted_at": entry.attempted_at,
        "due_at": entry.due_at,
        "settled_at": entry.settled_at,
        "remark": entry.remark,
        "backend": entry.backend,
    }
    names = ", ".join(row)
    places = ", ".join(f":{name}" for name in row)
    try:
        done = connection.execute(
            f"INSERT OR IGNORE INTO contributions ({names}) VALUES ({places})",  # noqa: S608
            row,
        )
    except (sqlite3.Error, OverflowError) as error:
        log.info("a row can't be kept: %s", error)
        return False
    return done.rowcount == 1
