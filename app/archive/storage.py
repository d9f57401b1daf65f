"""The SQLite file with the machines' figures over time, thinned with age and bounded in size.

All functions are for the thread that the connection belongs to, and raise `sqlite3.Error` with
nothing changed. Times are seconds since the epoch.
"""

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.common.database import Migrations, transaction
from app.swarm.fleet import FINE_SECONDS, METRICS

FILE_NAME = "machines.sqlite"
"""In the data folder."""

STEPS = (int(FINE_SECONDS), 300, 3600)
"""Seconds that one row stands for: at first, after a day, and after two weeks."""

AGES = (24 * 3600.0, 14 * 24 * 3600.0, 400 * 24 * 3600.0)
"""After how many seconds rows of a step become rows of the next one; the last ones are dropped."""

MOST_ROWS = 1_000_000
"""Some 150 MB: forty machines in full. Beyond it, rows are thinned earlier."""

MOST_MACHINES = 5000
"""Beyond it, machines are dropped, strangers first."""

_COLUMNS = ", ".join(METRICS)

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE machines (
            number INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL,
            public_key TEXT NOT NULL,
            alias TEXT NOT NULL,
            lab TEXT NOT NULL,
            device TEXT NOT NULL,
            first_seen REAL NOT NULL,
            last_seen REAL NOT NULL,
            vouched INTEGER NOT NULL,
            UNIQUE (run_id, public_key)
        ) STRICT
        """,
        """
        CREATE TABLE figures (
            machine INTEGER NOT NULL REFERENCES machines (number) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            time INTEGER NOT NULL,
            samples_per_second REAL, loss REAL, temperature REAL, power REAL, gpu_use REAL,
            cpu_use REAL,
            PRIMARY KEY (machine, step, time)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX by_age ON figures (step, time)",
    ),
)

ArchiveRow = tuple[float, ...]
"""When it was, and a value for each of `METRICS`; NaN where none is known."""


@dataclass(frozen=True, kw_only=True)
class ArchivedMachine:
    """A machine, and what is new of its figures."""

    public_key: str
    alias: str
    lab: str
    device: str
    first_seen: float
    last_seen: float
    vouched: bool
    """A peer of it was seen in the swarm."""
    rows: tuple[ArchiveRow, ...] = ()
    """In steps of ``STEPS[0]``, oldest first."""


def save(connection: sqlite3.Connection, run_id: str, machines: Sequence[ArchivedMachine]) -> None:
    """Add what is new of some machines of a run."""
    with transaction(connection):
        for machine in machines:
            connection.execute(
                "INSERT INTO machines (run_id, public_key, alias, lab, device, first_seen,"
                " last_seen, vouched) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                " ON CONFLICT (run_id, public_key) DO UPDATE SET alias = ?3, lab = ?4,"
                " device = ?5, last_seen = ?7, vouched = max(vouched, ?8)",
                (
                    *(run_id, machine.public_key, machine.alias, machine.lab, machine.device),
                    *(machine.first_seen, machine.last_seen, machine.vouched),
                ),
            )
            number = _number_of(connection, run_id, machine.public_key)
            connection.executemany(
                f"INSERT OR REPLACE INTO figures (machine, step, time, {_COLUMNS})"  # noqa: S608  our names
                f" VALUES (?, ?, ?{', ?' * len(METRICS)})",
                ((number, STEPS[0], math.floor(row[0]), *row[1:]) for row in machine.rows),
            )


def _number_of(connection: sqlite3.Connection, run_id: str, public_key: str) -> int | None:
    found = connection.execute(
        "SELECT number FROM machines WHERE run_id = ? AND public_key = ?", (run_id, public_key)
    ).fetchone()
    return found["number"] if found is not None else None


def load(
    connection: sqlite3.Connection, run_id: str, public_key: str, *, since: float, step: float
) -> list[ArchiveRow]:
    """A machine's figures from ``since`` on as means over ``step`` seconds, oldest first.

    The times are the middles of the steps. Empty for an unknown machine.
    """
    means = ", ".join(f"avg({name})" for name in METRICS)
    found = connection.execute(
        f"SELECT time / :step * :step AS begin, {means} FROM figures"  # noqa: S608  our names
        " WHERE machine = :machine AND time >= :since GROUP BY begin ORDER BY begin",
        {
            "step": int(step),
            "since": math.floor(since),
            "machine": _number_of(connection, run_id, public_key),
        },
    )
    return [
        (row[0] + step / 2, *(math.nan if value is None else value for value in tuple(row)[1:]))
        for row in found
    ]


def thin(connection: sqlite3.Connection, now: float) -> None:
    """Make the rows that have become old fewer, and keep all within the bounds."""
    share = 1.0
    while True:
        with transaction(connection):
            _thin_once(connection, now, share)
            _drop_machines(connection)
        (count,) = connection.execute("SELECT count(*) FROM figures").fetchone()
        if count <= MOST_ROWS or share < 1e-3:
            return
        share /= 2


def _thin_once(connection: sqlite3.Connection, now: float, share: float) -> None:
    """share: of `AGES`, after which rows are thinned."""
    for step, coarser, age in zip(STEPS, STEPS[1:], AGES, strict=False):
        limit = math.floor((now - age * share) / coarser) * coarser
        _merge(connection, step=step, coarser=coarser, limit=limit)
    connection.execute(
        "DELETE FROM figures WHERE step = ? AND time < ?", (STEPS[-1], now - AGES[-1] * share)
    )


def _merge(connection: sqlite3.Connection, *, step: int, coarser: int, limit: int) -> None:
    means = ", ".join(f"avg({name})" for name in METRICS)
    connection.execute(
        f"INSERT OR REPLACE INTO figures (machine, step, time, {_COLUMNS})"  # noqa: S608  our names
        f" SELECT machine, :coarser, time / :coarser * :coarser AS begin, {means} FROM figures"
        " WHERE step = :step AND time < :limit GROUP BY machine, begin",
        {"coarser": coarser, "step": step, "limit": limit},
    )
    connection.execute("DELETE FROM figures WHERE step = ? AND time < ?", (step, limit))


def _drop_machines(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM machines WHERE number IN (SELECT number FROM machines"
        " ORDER BY vouched DESC, last_seen DESC LIMIT -1 OFFSET ?)",
        (MOST_MACHINES,),
    )


def rows_of(times: Iterable[float], *values: Iterable[float]) -> tuple[ArchiveRow, ...]:
    """Rows from one list of times and one of values for each metric; those without any value are
    left out."""
    rows = zip(times, *values, strict=True)
    return tuple(row for row in rows if not all(map(math.isnan, row[1:])))
