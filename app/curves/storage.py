"""The SQLite file with the curves of the swarms that were joined last, bounded in size.

It holds the buckets of `app.state.history` as they are: `BUCKETS` of each resolution for each
series of `MOST_RUNS` runs.
"""

import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.common.database import Migrations, open_database, transaction
from app.curves import evaluations
from app.state.history import BUCKETS, Bucket

FILE_NAME = "curves.sqlite"
"""In the data folder."""

MOST_RUNS = 24
"""The runs that were written last are kept."""

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE runs (
            number INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            saved_at REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE rings (
            number INTEGER PRIMARY KEY,
            run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
            series TEXT NOT NULL,
            resolution REAL NOT NULL,
            UNIQUE (run, series, resolution)
        ) STRICT
        """,
        """
        CREATE TABLE buckets (
            ring INTEGER NOT NULL REFERENCES rings (number) ON DELETE CASCADE,
            bucket INTEGER NOT NULL CHECK (bucket >= 0),
            total REAL NOT NULL,
            count INTEGER NOT NULL CHECK (count >= 0),
            PRIMARY KEY (ring, bucket)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    evaluations.MIGRATION,
)

RingName = tuple[str, float]
"""A series, and the resolution of one of its rings in seconds."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run whose curves are kept."""

    run_id: str
    title: str
    saved_at: float
    """When its curves were written last, in seconds since the epoch."""


class CurveFile:
    """The open file, for the thread that opened it alone. `open` makes one.

    set_aside: the new path of a damaged file; None if it was sound.
    """

    def __init__(self, connection: sqlite3.Connection, set_aside: Path | None = None) -> None:
        self._connection = connection
        self.set_aside = set_aside

    @classmethod
    def open(cls, path: Path) -> "CurveFile":
        """Open or create the file. Raises `DatabaseError`."""
        connection, aside = open_database(path, migrations=MIGRATIONS)
        connection.execute("PRAGMA foreign_keys = ON")
        # A power cut may cost the last half-minute of a chart, which isn't worth waiting for.
        connection.execute("PRAGMA synchronous = NORMAL")
        return cls(connection, aside)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def save(self, run: StoredRun, changes: Mapping[RingName, list[Bucket]]) -> None:
        """Write new and changed buckets, and drop what is beyond the bounds.

        Raises `sqlite3.Error`, with nothing changed.
        """
        execute = self._connection.execute
        with transaction(self._connection):
            execute(
                "INSERT INTO runs (run_id, title, saved_at) VALUES (?, ?, ?) ON CONFLICT (run_id)"
                " DO UPDATE SET title = excluded.title, saved_at = excluded.saved_at",
                (run.run_id, run.title, run.saved_at),
            )
            for name, buckets in changes.items():
                self._save_ring(run.run_id, name, buckets)
            execute(
                "DELETE FROM runs WHERE number NOT IN"
                " (SELECT number FROM runs ORDER BY saved_at DESC LIMIT ?)",
                (MOST_RUNS,),
            )

    def _save_ring(self, run_id: str, name: RingName, buckets: list[Bucket]) -> None:
        execute = self._connection.execute
        execute(
            "INSERT OR IGNORE INTO rings (run, series, resolution)"
            " SELECT number, ?, ? FROM runs WHERE run_id = ?",
            (*name, run_id),
        )
        (ring,) = execute(
            "SELECT rings.number FROM rings JOIN runs ON runs.number = run"
            " WHERE run_id = ? AND series = ? AND resolution = ?",
            (run_id, *name),
        ).fetchone()
        self._connection.executemany(
            "INSERT OR REPLACE INTO buckets (ring, bucket, total, count) VALUES (?, ?, ?, ?)",
            ((ring, *bucket) for bucket in buckets),
        )
        execute(
            "DELETE FROM buckets WHERE ring = ?1 AND bucket <= (SELECT bucket FROM buckets"
            " WHERE ring = ?1 ORDER BY bucket DESC LIMIT 1 OFFSET ?2)",
            (ring, BUCKETS),
        )

    def load(self, run_id: str, *, until: float = math.inf) -> dict[RingName, list[Bucket]]:
        """The buckets of a run, oldest first; empty when none are kept.

        until: in seconds since the epoch. Buckets that begin later were written while the clock
        was wrong, and are left out.

        Raises `sqlite3.Error`.
        """
        found: dict[RingName, list[Bucket]] = {}
        for row in self._connection.execute(
            "SELECT series, resolution, bucket, total, buckets.count AS count FROM runs"
            " JOIN rings ON run = runs.number JOIN buckets ON ring = rings.number"
            " WHERE run_id = ? AND bucket * resolution <= ? ORDER BY ring, bucket",
            (run_id, until),
        ):
            bucket = (row["bucket"], row["total"], row["count"])
            found.setdefault((row["series"], row["resolution"]), []).append(bucket)
        return found

    def runs(self) -> list[StoredRun]:
        """All runs whose curves are kept, the one written last first. Raises `sqlite3.Error`."""
        return [
            StoredRun(run_id=row["run_id"], title=row["title"], saved_at=row["saved_at"])
            for row in self._connection.execute("SELECT * FROM runs ORDER BY saved_at DESC")
        ]

    def forget(self, pattern: str) -> None:
        """Drop the runs whose id fits a pattern of SQLite's GLOB. Raises `sqlite3.Error`."""
        self._connection.execute("DELETE FROM runs WHERE run_id GLOB ?", (pattern,))
