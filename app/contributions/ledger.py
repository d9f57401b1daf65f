"""The ledger: every contribution of this machine, and whether it has been reported.

A contribution is on the disk before it is sent anywhere. Its way through the outbox:

    open -> waiting -> sending -> confirmed
                ^         |-> refused
                '---------'---------'   (postponed, or tried again because somebody wants it)

or, when there is nobody to report it to, open -> local. *sending* is written before the request
goes out: found after a crash, it means that the answer is not known, and that one must ask before
sending again. `synchronous = FULL` for the same reason: a power cut must not make us forget it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from app.common.database import Migrations, open_database
from app.common.subscription import Subscription, subscribed
from app.contributions.accounting import Contribution, share
from app.contributions.outbox import (
    LedgerEntry,
    Outbox,
    OutboxState,
    WrongStateError,
    contribution_of_row,
    entry_of_row,
)

__all__ = [
    "Ledger",
    "LedgerEntry",
    "LedgerThread",
    "LedgerTotals",
    "OutboxState",
    "WrongStateError",
]

P = ParamSpec("P")
T = TypeVar("T")

PAGE = 100


@dataclass(frozen=True, kw_only=True)
class LedgerTotals:
    """Sums over contributions, those whose interval goes on left out; units as there.

    energy: of those where it is known, None when it is of none. counts: how many are in which
    state of the outbox.
    """

    contributions: int
    compute_time: float
    data_transmitted: float
    samples_computed: int
    samples: int
    swarm_samples: int
    tokens: int
    epochs: int
    bytes_sent: int
    bytes_received: int
    energy: float | None
    score: int
    counts: dict[OutboxState, int]

    @property
    def share(self) -> float | None:
        """How much of the swarm's samples in these epochs were ours, 0 to 1."""
        return share(self.samples, self.swarm_samples)


MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE contributions (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            run_id TEXT NOT NULL,
            session_id INTEGER,
            training_id TEXT,
            participant TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL NOT NULL,
            compute_time REAL NOT NULL,
            gradient_quality REAL NOT NULL,
            data_transmitted REAL NOT NULL,
            uptime_ratio REAL NOT NULL,
            samples_computed INTEGER NOT NULL,
            samples INTEGER NOT NULL,
            swarm_samples INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            epochs INTEGER NOT NULL,
            bytes_sent INTEGER NOT NULL,
            bytes_received INTEGER NOT NULL,
            energy REAL,
            score INTEGER NOT NULL,
            public_key TEXT NOT NULL,
            signature TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN
                ('open', 'waiting', 'sending', 'confirmed', 'refused', 'local')),
            attempts INTEGER NOT NULL DEFAULT 0,
            attempted_at REAL,
            due_at REAL NOT NULL DEFAULT 0,
            settled_at REAL,
            remark TEXT NOT NULL DEFAULT ''
        ) STRICT
        """,
        "CREATE INDEX contributions_state ON contributions (state, due_at)",
        "CREATE INDEX contributions_ended_at ON contributions (ended_at)",
    ),
)

_WRITE = """
    INSERT INTO contributions (
        id, run_id, session_id, training_id, participant, started_at, ended_at, compute_time,
        gradient_quality, data_transmitted, uptime_ratio, samples_computed, samples,
        swarm_samples, tokens, epochs, bytes_sent, bytes_received, energy, score, public_key,
        signature, state
    ) VALUES (
        :id, :run_id, :session_id, :training_id, :participant, :started_at, :ended_at,
        :compute_time, :gradient_quality, :data_transmitted, :uptime_ratio, :samples_computed,
        :samples, :swarm_samples, :tokens, :epochs, :bytes_sent, :bytes_received, :energy, :score,
        :public_key, :signature, :state
    ) ON CONFLICT (id) DO UPDATE SET
        ended_at = :ended_at, compute_time = :compute_time, gradient_quality = :gradient_quality,
        data_transmitted = :data_transmitted, uptime_ratio = :uptime_ratio,
        samples_computed = :samples_computed, samples = :samples, swarm_samples = :swarm_samples,
        tokens = :tokens, epochs = :epochs, bytes_sent = :bytes_sent,
        bytes_received = :bytes_received, energy = :energy, score = :score,
        public_key = :public_key, signature = :signature, state = :state
    WHERE state = 'open'
"""

_SUMS = """
    SELECT {group} AS name, count(*) AS contributions,
        total(compute_time) AS compute_time, total(data_transmitted) AS data_transmitted,
        ifnull(sum(samples_computed), 0) AS samples_computed, ifnull(sum(samples), 0) AS samples,
        ifnull(sum(swarm_samples), 0) AS swarm_samples, ifnull(sum(tokens), 0) AS tokens,
        ifnull(sum(epochs), 0) AS epochs, ifnull(sum(bytes_sent), 0) AS bytes_sent,
        ifnull(sum(bytes_received), 0) AS bytes_received, sum(energy) AS energy,
        ifnull(sum(score), 0) AS score,
        ifnull(sum(state = 'waiting'), 0) AS waiting, ifnull(sum(state = 'sending'), 0) AS sending,
        ifnull(sum(state = 'confirmed'), 0) AS confirmed,
        ifnull(sum(state = 'refused'), 0) AS refused, ifnull(sum(state = 'local'), 0) AS local
    FROM contributions WHERE state != 'open' AND ended_at >= ? {grouping}
"""
_SUM = _SUMS.format(group="''", grouping="")
_SUM_BY_DAY = _SUMS.format(
    group="date(ended_at, 'unixepoch', 'localtime')", grouping="GROUP BY name ORDER BY name"
)
_SUM_BY_SWARM = _SUMS.format(group="run_id", grouping="GROUP BY name ORDER BY max(ended_at) DESC")


class Ledger(Outbox):
    """The file, opened by `open`. Every call is short; all come from one thread, see
    `LedgerThread`.

    set_aside: where a damaged file went when this one was begun, None when all was well.
    """

    def __init__(self, connection: sqlite3.Connection, set_aside: Path | None) -> None:
        super().__init__(connection)
        self.set_aside = set_aside

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """Open or begin the ledger. Raises `LedgerError` when it can't be used."""
        return cls(*open_database(path, migrations=MIGRATIONS))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- from measuring to the outbox

    def save_open(self, contribution: Contribution) -> None:
        """Write down an interval that goes on, for the case that we are killed in it."""
        # A power cut may take the last of these, in return for no wait for the disk.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            self._write(contribution, OutboxState.OPEN)
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def left_open(self) -> list[Contribution]:
        """Intervals that an earlier run of the app did not live to close."""
        found = self._connection.execute("SELECT * FROM contributions WHERE state = 'open'")
        return [contribution_of_row(row) for row in found]

    def drop_open(self, id: str) -> None:
        """Forget an interval in which nothing was computed."""
        self._connection.execute("DELETE FROM contributions WHERE id = ? AND state = 'open'", (id,))

    def add(self, contribution: Contribution) -> None:
        """Put a finished one into the outbox; again is as good as once."""
        known = contribution.session_id is not None
        self._write(contribution, OutboxState.WAITING if known else OutboxState.LOCAL)
        self.revision += 1

    def _write(self, contribution: Contribution, state: OutboxState) -> None:
        values = asdict(contribution) | {"score": contribution.score, "state": state}
        self._connection.execute(_WRITE, values)

    # --- looking at it

    def all(
        self,
        *,
        before: int | None = None,
        limit: int = PAGE,
        state: OutboxState | None = None,
        run_id: str | None = None,
    ) -> list[LedgerEntry]:
        """A page of the finished ones, newest first. before: the last page's last number."""
        found = self._connection.execute(
            "SELECT * FROM contributions WHERE state != 'open'"
            " AND (:before IS NULL OR number < :before) AND (:state IS NULL OR state = :state)"
            " AND (:run_id IS NULL OR run_id = :run_id) ORDER BY number DESC LIMIT :limit",
            {"before": before, "state": state, "run_id": run_id, "limit": limit},
        )
        return [entry_of_row(row) for row in found]

    def totals(self, since: float = 0.0) -> LedgerTotals:
        """Sums over what ended since a time."""
        return _totals(self._connection.execute(_SUM, (since,)).fetchone())

    def by_day(self, since: float = 0.0) -> dict[str, LedgerTotals]:
        """The same for each day (ISO 8601, local time) on which something ended, in order."""
        found = self._connection.execute(_SUM_BY_DAY, (since,))
        return {row["name"]: _totals(row) for row in found}

    def by_swarm(self, since: float = 0.0) -> dict[str, LedgerTotals]:
        """The same for each run, the latest first."""
        found = self._connection.execute(_SUM_BY_SWARM, (since,))
        return {row["name"]: _totals(row) for row in found}

    def refusals(self) -> dict[str, int]:
        """Why some were refused, the latest reason first, and how many for each."""
        found = self._connection.execute(
            "SELECT remark, count(*) AS count FROM contributions WHERE state = 'refused'"
            " GROUP BY remark ORDER BY max(settled_at) DESC"
        )
        return {row["remark"]: row["count"] for row in found}

    def newest_of_a_session(self) -> Contribution | None:
        """The newest one of a run that the backend knows; None when there is none."""
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE state != 'open' AND session_id IS NOT NULL"
            " ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else contribution_of_row(row)


_SUMMED = tuple(field.name for field in fields(LedgerTotals) if field.name != "counts")
_COUNTED = tuple(state for state in OutboxState if state is not OutboxState.OPEN)


def _totals(row: sqlite3.Row) -> LedgerTotals:
    summed = {name: row[name] for name in _SUMMED}
    return LedgerTotals(**summed, counts={state: row[state.value] for state in _COUNTED})


class LedgerThread:
    """The ledger on a thread of its own: a write waits for the disk, and the loop must not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._ledger: Ledger | None = None
        self._listeners: list[Callable[[], None]] = []
        self._told = 0

    @property
    def is_open(self) -> bool:
        """It can be asked."""
        return self._ledger is not None

    async def open(self) -> Path | None:
        """Open the ledger; returns where a damaged one was set aside. Raises `LedgerError`."""
        self._ledger = await self._run(Ledger.open, self._path)
        self._tell()
        return self._ledger.set_aside

    def subscribe(self, listener: Callable[[], None]) -> Subscription:
        """Call ``listener`` on the loop's thread when the ledger was opened, and when a finished
        contribution has come or gone on its way."""
        return subscribed(self._listeners, listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    async def run(
        self, work: Callable[Concatenate[Ledger, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of `Ledger`, or any function that takes one first: ``await
        ledger.run(Ledger.confirm, id, at, how)``. One call after the other."""
        ledger = self._ledger
        assert ledger is not None
        result = await self._run(partial(work, ledger, *args, **kwargs))
        if ledger.revision != self._told:
            self._told = ledger.revision
            self._tell()
        return result

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def close(self) -> None:
        """Close the file and end the thread. May be called twice, and without `open`."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await self._run(ledger.close)
        self._thread.shutdown(wait=False)
