"""Reads what is left in a damaged ledger, and puts it into the new one.

A row counts only if its signature fits, so nothing half overwritten is taken. What waited is in
doubt afterwards, since the damage may have lost that it was sent: the delivery asks the backend
before it sends it again. Rows that are only known from an index are counted as lost.

The damaged file has a name of its own until all of this is on the disk. So a crash, a power cut or
a full disk meanwhile costs nothing: the next start begins anew.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.common.database import (
    DamagedError,
    Migrations,
    open_database,
    open_sound,
    transaction,
    unusable,
)
from app.common.paths import name_aside
from app.common.signing import canonical, from_text, verify
from app.contributions.outbox import OutboxState, entry_of_row
from app.contributions.pages import Pages, Record

log = logging.getLogger(__name__)

PENDING = ".damaged"
"""Ending of a damaged file whose rows aren't in the new one yet."""

ID_CHARACTERS = 36
"""Of a uuid."""

LEAST_COLUMNS = 29
"""Of the table's first version."""

_OF_A_VALUE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What SQLite raises for a value. Its other errors are of the file, as that of a full disk."""

_PROGRESS = {state: place for place, state in enumerate(OutboxState)}
"""By which the newest of several versions of a row is told, which pages out of use may hold."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What became of a damaged ledger."""

    aside: Path
    """Where the damaged file is kept."""

    recovered: int
    """Contributions that could be read."""

    lost: int
    """Contributions that are known to have been in it, and could not be read."""


def open_recovered(
    path: Path, *, migrations: Migrations
) -> tuple[sqlite3.Connection, Recovery | None]:
    """Open or create a ledger. A damaged one is set aside, and what can be read of it is in the new
    one; returns what became of it as well.

    Raises `DatabaseError`.
    """
    pending = path.with_name(path.name + PENDING)
    try:
        if pending.exists():
            if not path.exists():
                _move(path, pending)  # what is left of it
        else:
            try:
                return open_sound(path, migrations=migrations), None
            except DamagedError as error:
                log.warning("%s is damaged: %s", path, error)
            for part in _parts(pending):
                part.unlink(missing_ok=True)  # of one that was set aside in part, long ago
            _move(path, pending)
        return _recovered(path, pending, migrations)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error


def _recovered(
    path: Path, pending: Path, migrations: Migrations
) -> tuple[sqlite3.Connection, Recovery]:
    connection, _aside = open_database(path, migrations=migrations)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        found = recover(pending, into=connection)
        aside = name_aside(path)
        _move(pending, aside)
        on_failure.pop_all()
    return connection, replace(found, aside=aside)


def _parts(path: Path) -> list[Path]:
    """A database and SQLite's files beside it."""
    return [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]


def _move(path: Path, target: Path) -> None:
    """The database first: by its name alone the next start tells what is still to be done."""
    for part, name in zip(_parts(path), _parts(target), strict=True):
        with contextlib.suppress(FileNotFoundError):
            part.rename(name)


def recover(damaged: Path, *, into: sqlite3.Connection) -> Recovery:
    """Copy all rows that can be read from a damaged file into a new one.

    The damaged file stays as it is. Takes up to some seconds. May be done again. Raises
    `sqlite3.Error` when the new one can't be written.
    """
    try:
        pages = Pages(damaged)
    except OSError as error:
        log.warning("%s can't be recovered: %s", damaged, error)
        return Recovery(aside=damaged, recovered=0, lost=0)
    found, broken = _sound_rows(pages.rows(), columns=_columns(into))
    with transaction(into):
        kept = [row for row in sorted(found.values(), key=_number) if _write(into, row)]
    # of an index's entry, the id or the number may be what is damaged
    ids, numbers = {row["id"] for row in kept}, {row["number"] for row in kept}
    broken |= {key[1] for key in pages.entries() if _is_id(key) and key[0] not in ids}
    lost = len(broken - numbers)
    log.warning("recovered %d contributions from %s, %d are lost", len(kept), damaged, lost)
    return Recovery(aside=damaged, recovered=len(kept), lost=lost)


# --- reading -------------------------------------------------------------------------------------


def _columns(connection: sqlite3.Connection) -> dict[str, tuple[str, Any]]:
    """The table's columns in their order, each with its type and its default."""
    found = connection.execute("PRAGMA table_info(contributions)")
    return {row["name"]: (row["type"], _default(row["dflt_value"])) for row in found}


def _default(text: str | None) -> Any:
    return None if text is None else "" if text == "''" else int(text)


def _sound_rows(
    rows: Iterable[tuple[int, Record]], *, columns: dict[str, tuple[str, Any]]
) -> tuple[dict[str, dict[str, Any]], set[int]]:
    """The sound rows by their ids, and the numbers of those that aren't."""
    found: dict[str, dict[str, Any]] = {}
    broken: set[int] = set()
    for number, record in rows:
        if not LEAST_COLUMNS <= len(record) <= len(columns):
            continue  # of another table
        values = _values(number, record, columns)
        id = values["id"]
        if not _is_sound(values):
            broken.add(number)
        elif id not in found or _progress(values) > _progress(found[id]):
            found[id] = values
    return found, broken


def _values(number: int, record: Record, columns: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """A row by the names of its columns; earlier versions of the table had fewer."""
    values = {name: default for name, (_type, default) in columns.items()}
    for (name, (kind, _default_of)), value in zip(columns.items(), record, strict=False):
        values[name] = float(value) if kind == "REAL" and isinstance(value, int) else value
    return values | {"number": number}


def _progress(values: dict[str, Any]) -> int:
    return _PROGRESS[OutboxState(values["state"])]


def _number(values: dict[str, Any]) -> int:
    return int(values["number"])


def _is_id(key: Record) -> bool:
    """Whether an index's entry is of the index of ids: a uuid and a row's number."""
    kinds = [type(value) for value in key]
    return kinds == [str, int] and len(key[0]) == ID_CHARACTERS


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
    """Add a row unless it is there already; False if SQLite refuses one of its values."""
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
        "forgotten_at": entry.forgotten_at,
        "refills": entry.refills,
    }
    names = ", ".join(row)
    places = ", ".join(f":{name}" for name in row)
    try:
        connection.execute(
            f"INSERT OR IGNORE INTO contributions ({names}) VALUES ({places})",  # noqa: S608
            row,
        )
    except (*_OF_A_VALUE, OverflowError) as error:
        log.info("a row can't be kept: %s", error)
        return False
    found = connection.execute("SELECT 1 FROM contributions WHERE id = :id", row)
    return found.fetchone() is not None
