"""The evaluations and samples of a run in the SQLite file, bounded in number."""

import sqlite3

from app.common.database import transaction
from app.state.facts import Evaluation, GeneratedSample, RunEvaluations
from app.state.reported import MOST_SAMPLES

MIGRATION = (
    """
    CREATE TABLE evaluations (
        run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        identity TEXT NOT NULL,
        which TEXT NOT NULL CHECK (which IN ('newest', 'best')),
        epoch INTEGER NOT NULL,
        loss REAL NOT NULL,
        bits_per_byte REAL NOT NULL,
        tokens INTEGER NOT NULL,
        time REAL NOT NULL,
        PRIMARY KEY (run, identity, which)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE samples (
        run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        identity TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        text TEXT NOT NULL,
        time REAL NOT NULL,
        PRIMARY KEY (run, identity, epoch, prompt)
    ) STRICT, WITHOUT ROWID
    """,
)
"""``identity``: of `app.takeout.identity`; swarms of strangers may have the same run id."""


def save(connection: sqlite3.Connection, run_id: str, identity: str, found: RunEvaluations) -> None:
    """Write them in place of the earlier ones of a run whose row exists, and keep the newest
    `MOST_SAMPLES` samples.

    Raises `sqlite3.Error`, with nothing changed.
    """
    with transaction(connection):
        (run,) = connection.execute(
            "SELECT number FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        connection.executemany(
            "INSERT OR REPLACE INTO evaluations"
            " (run, identity, which, epoch, loss, bits_per_byte, tokens, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (run, identity, which, it.epoch, it.loss, it.bits_per_byte, it.tokens, it.time)
                for which, it in (("newest", found.newest), ("best", found.best))
                if it is not None
            ),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO samples (run, identity, epoch, prompt, text, time)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                (run, identity, each.epoch, each.prompt, each.text, each.time)
                for each in found.samples
            ),
        )
        connection.execute(
            "DELETE FROM samples WHERE run = ?1 AND identity = ?2 AND (epoch, prompt) NOT IN"
            " (SELECT epoch, prompt FROM samples WHERE run = ?1 AND identity = ?2"
            " ORDER BY time DESC LIMIT ?3)",
            (run, identity, MOST_SAMPLES),
        )


def load(connection: sqlite3.Connection, run_id: str, identity: str) -> RunEvaluations:
    """Those of a run, empty when none are kept; the newest sample last. Raises `sqlite3.Error`."""
    of_run = (run_id, identity)
    found = connection.execute(
        "SELECT * FROM evaluations JOIN runs ON run = number WHERE run_id = ? AND identity = ?",
        of_run,
    )
    evaluations = {
        row["which"]: Evaluation(
            epoch=row["epoch"],
            loss=row["loss"],
            bits_per_byte=row["bits_per_byte"],
            tokens=row["tokens"],
            time=row["time"],
        )
        for row in found
    }
    samples = connection.execute(
        "SELECT * FROM samples JOIN runs ON run = number WHERE run_id = ? AND identity = ?"
        " ORDER BY time",
        of_run,
    )
    return RunEvaluations(
        newest=evaluations.get("newest"),
        best=evaluations.get("best"),
        samples=tuple(
            GeneratedSample(
                epoch=row["epoch"], prompt=row["prompt"], text=row["text"], time=row["time"]
            )
            for row in samples
        ),
    )
