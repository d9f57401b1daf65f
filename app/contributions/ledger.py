"""The ledger: a SQLite file with every contribution of this machine, and its state of reporting.

A contribution is on the disk before it is sent. These are its states:

    open -> waiting -> sending -> confirmed
                ^         |-> refused
                '---------'---------'   (postponed, or tried again at the user's wish)

A contribution to a run that the backend doesn't know, or of which nothing entered a round, goes
from open to local. One that the backend has confirmed and forgotten may go back to waiting
(`app.contributions.recall`). *Sending* is written before the request begins. If it is found after a
crash, the answer isn't known, and the backend must be asked before the contribution is sent again.
`synchronous = FULL` makes sure that not even a power cut loses this state.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from app.common.subscription import Subscription, subscribed
from app.contributions.accounting import Contribution, share
from app.contributions.migrations import MIGRATIONS
from app.contributions.outbox import (
    LedgerEntry,
    Outbox,
    OutboxState,
    WrongStateError,
    contribution_of_row,
    entry_of_row,
)
from app.contributions.recovery import Recovery, open_recovered
from app.state.facts import DEMO_RUNS

__all__ = [
    "Ledger",
    "LedgerEntry",
    "LedgerThread",
    "LedgerTotals",
    "OutboxState",
    "OutboxThread",
    "WrongStateError",
]

P = ParamSpec("P")
T = TypeVar("T")

PAGE = 100
"""Entries that `Ledger.all` returns at most, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class LedgerTotals:
    """Sums over finished contributions. Units and meanings are those of `Contribution`."""

    contributions: int
    """How many there are."""

    began: float | None
    """When the first one began, in seconds since the epoch; None without any."""

    ended: float | None
    """When the last one ended, likewise."""

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
    """Joules of those contributions whose energy is known; None if it is known of none."""

    unmeasured_time: float
    """Seconds of training in the others."""

    steady_energy: float
    """Joules of those in which this machine trained all the time, as far as they are known."""

    steady_time: float
    """How long these were, in seconds."""

    score: int

    counts: dict[OutboxState, int]
    """How many are in each state of the outbox but `OutboxState.OPEN`."""

    @property
    def share(self) -> float | None:
        """This machine's share of the swarm's samples in these epochs, 0 to 1; None if unknown."""
        return share(self.samples, self.swarm_samples)

    @property
    def power(self) -> float | None:
        """Watts while training, measured; None where nothing was."""
        return self.steady_energy / self.steady_time if self.steady_time > 0 else None


_WRITE = """
    INSERT INTO contributions (
        id, run_id, session_id, training_id, participant, started_at, ended_at, compute_time,
        gradient_quality, data_transmitted, uptime_ratio, samples_computed, samples,
        swarm_samples, tokens, epochs, bytes_sent, bytes_received, energy, score, public_key,
        signature, state, backend
    ) VALUES (
        :id, :run_id, :session_id, :training_id, :participant, :started_at, :ended_at,
        :compute_time, :gradient_quality, :data_transmitted, :uptime_ratio, :samples_computed,
        :samples, :swarm_samples, :tokens, :epochs, :bytes_sent, :bytes_received, :energy, :score,
        :public_key, :signature, :state, :backend
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
        min(started_at) AS began, max(ended_at) AS ended,
        total(compute_time) AS compute_time, total(data_transmitted) AS data_transmitted,
        ifnull(sum(samples_computed), 0) AS samples_computed, ifnull(sum(samples), 0) AS samples,
        ifnull(sum(swarm_samples), 0) AS swarm_samples, ifnull(sum(tokens), 0) AS tokens,
        ifnull(sum(epochs), 0) AS epochs, ifnull(sum(bytes_sent), 0) AS bytes_sent,
        ifnull(sum(bytes_received), 0) AS bytes_received, sum(energy) AS energy,
        total((ended_at - started_at) * uptime_ratio / 100 * (energy IS NULL)) AS unmeasured_time,
        total(energy * (uptime_ratio >= {steady})) AS steady_energy,
        total((ended_at - started_at) * (uptime_ratio >= {steady} AND energy IS NOT NULL))
            AS steady_time,
        ifnull(sum(score), 0) AS score,
        ifnull(sum(state = 'waiting'), 0) AS waiting, ifnull(sum(state = 'sending'), 0) AS sending,
        ifnull(sum(state = 'confirmed'), 0) AS confirmed,
        ifnull(sum(state = 'refused'), 0) AS refused, ifnull(sum(state = 'local'), 0) AS local
    FROM contributions WHERE state != 'open' AND ended_at >= ? {rest}
"""
_NO_DEMO = f"AND run_id NOT GLOB '{DEMO_RUNS}'"
_STEADY = 95.0
"""An uptime ratio from which on a machine trained all the time: the energy that its device used in
that time was for training."""

_SUM = _SUMS.format(group="''", rest=_NO_DEMO, steady=_STEADY)
_SUM_BY_DAY = _SUMS.format(
    steady=_STEADY,
    group="date(ended_at, 'unixepoch', 'localtime')",
    rest=f"{_NO_DEMO} GROUP BY name ORDER BY name",
)
_SUM_BY_SWARM = _SUMS.format(
    steady=_STEADY, group="run_id", rest="GROUP BY name ORDER BY max(ended_at) DESC"
)


class Ledger:
    """The open file. Call it on the thread that opened it only; `LedgerThread` sees to that."""

    def __init__(self, connection: sqlite3.Connection, *, backend: str) -> None:
        self.outbox = Outbox(connection, backend=backend)
        """Reads and changes how far reporting has come, over the same connection."""
        self.recovery: Recovery | None = None
        """What was read from a damaged file when this one was created; None if there was none."""
        self._connection = connection
        self._backend = backend
        self._added = 0

    @classmethod
    def open(cls, path: Path, *, backend: str = "") -> "Ledger":
        """Open the ledger, or create it.

        backend: URL of the backend that new contributions are for, and that the outbox is about.

        Raises `DatabaseError` when it can't be used.
        """
        connection, recovery = open_recovered(path, migrations=MIGRATIONS)
        ledger = cls(connection, backend=backend)
        ledger.recovery = recovery
        return ledger

    def close(self) -> None:
        """Close the file; the outbox can't be used after that either."""
        self._connection.close()

    @property
    def revision(self) -> int:
        """A number that rises whenever a finished contribution is added or changes its state."""
        return self._added + self.outbox.revision

    # --- from measuring to the outbox

    def save_open(self, contribution: Contribution) -> None:
        """Save an interval that hasn't ended, in case the app is killed before it ends."""
        # Not waiting for the disk is worth that a power cut may lose the last save.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            self._write(contribution, OutboxState.OPEN)
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def left_open(self) -> list[Contribution]:
        """The intervals that an earlier run of the app began and didn't end."""
        found = self._connection.execute("SELECT * FROM contributions WHERE state = 'open'")
        return [contribution_of_row(row) for row in found]

    def drop_open(self, id: str) -> None:
        """Delete an open interval, because nothing was computed in it."""
        self._connection.execute("DELETE FROM contributions WHERE id = ? AND state = 'open'", (id,))

    def add(self, contribution: Contribution) -> None:
        """Put a finished contribution into the outbox. A second call changes nothing."""
        reported = contribution.is_reported
        self._write(contribution, OutboxState.WAITING if reported else OutboxState.LOCAL)
        self._added += 1

    def adopt(self, backend: str) -> None:
        """Say which backend the contributions are for that an earlier version has recorded."""
        done = self._connection.execute(
            "UPDATE contributions SET backend = ? WHERE backend IS NULL", (backend,)
        )
        self._added += done.rowcount

    def _write(self, contribution: Contribution, state: OutboxState) -> None:
        values = asdict(contribution) | {"score": contribution.score, "state": state}
        values["backend"] = self._backend
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
        """A page of the finished contributions, newest first.

        before: only entries with a smaller number; the last number of the page before.
        """
        found = self._connection.execute(
            "SELECT * FROM contributions WHERE state != 'open'"
            " AND (:before IS NULL OR number < :before) AND (:state IS NULL OR state = :state)"
            " AND (:run_id IS NULL OR run_id = :run_id) ORDER BY number DESC LIMIT :limit",
            {"before": before, "state": state, "run_id": run_id, "limit": limit},
        )
        return [entry_of_row(row) for row in found]

    def totals(self, since: float = 0.0) -> LedgerTotals:
        """Sums over contributions that ended since a time, in seconds since the epoch; without
        those to demos."""
        return _totals(self._connection.execute(_SUM, (since,)).fetchone())

    def by_day(self, since: float = 0.0) -> dict[str, LedgerTotals]:
        """The same sums by ISO date in local time, oldest first. Days without any are left out."""
        found = self._connection.execute(_SUM_BY_DAY, (since,))
        return {row["name"]: _totals(row) for row in found}

    def by_swarm(self, since: float = 0.0) -> dict[str, LedgerTotals]:
        """The same sums by run id, demos included, the run with the latest contribution first."""
        found = self._connection.execute(_SUM_BY_SWARM, (since,))
        return {row["name"]: _totals(row) for row in found}

    def refusals(self) -> dict[str, int]:
        """The reasons of refusals, the latest first, and how many were refused for each."""
        return self._reasons(OutboxState.REFUSED)

    def kept(self) -> dict[str, int]:
        """Why contributions to a session are not reported, and how many, in the same way."""
        return self._reasons(OutboxState.LOCAL)

    def _reasons(self, state: OutboxState) -> dict[str, int]:
        found = self._connection.execute(
            "SELECT remark, count(*) AS count FROM contributions WHERE state = ? AND remark != ''"
            " GROUP BY remark ORDER BY max(settled_at) DESC",
            (state,),
        )
        return {row["remark"]: row["count"] for row in found}

    def elsewhere(self) -> dict[str, int]:
        """How many contributions wait to be reported to another backend, by its URL."""
        found = self._connection.execute(
            "SELECT backend, count(*) AS count FROM contributions"
            " WHERE state IN ('waiting', 'sending') AND backend != ? GROUP BY backend",
            (self._backend,),
        )
        return {row["backend"]: row["count"] for row in found}

    def newest_of_a_session(self) -> Contribution | None:
        """The newest contribution to a run that the backend knows; None when there is none."""
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE state NOT IN ('open', 'local')"
            " AND session_id IS NOT NULL AND backend = ? ORDER BY number DESC LIMIT 1",
            (self._backend,),
        ).fetchone()
        return None if row is None else contribution_of_row(row)


_SUMMED = tuple(field.name for field in fields(LedgerTotals) if field.name != "counts")
_COUNTED = tuple(state for state in OutboxState if state is not OutboxState.OPEN)


def _totals(row: sqlite3.Row) -> LedgerTotals:
    summed = {name: row[name] for name in _SUMMED}
    return LedgerTotals(**summed, counts={state: row[state.value] for state in _COUNTED})


class LedgerThread:
    """Runs a ledger on a thread of its own, because a write waits for the disk.

    path, backend: see `Ledger.open`.
    """

    def __init__(self, path: Path, *, backend: str = "") -> None:
        self.outbox = OutboxThread(self)
        """The ledger's outbox, on the same thread."""
        self._path = path
        self._backend = backend
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._ledger: Ledger | None = None
        self._listeners: list[Callable[[], None]] = []
        self._told = 0

    @property
    def is_open(self) -> bool:
        """Whether `run` may be called."""
        return self._ledger is not None

    async def open(self) -> Recovery | None:
        """Open the ledger; returns what was read from a damaged one, or None.

        Raises `DatabaseError`.
        """
        self._ledger = await self._run(partial(Ledger.open, self._path, backend=self._backend))
        self._tell()
        return self._ledger.recovery

    def subscribe(self, listener: Callable[[], None]) -> Subscription:
        """Call ``listener`` when the ledger was opened, and whenever a finished contribution was
        added or changed its state. It is called on the loop's thread."""
        return subscribed(self._listeners, listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    async def run(
        self, work: Callable[Concatenate[Ledger, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of `Ledger`, or a function whose first argument is one, on the thread.

        Calls run one after the other. Example: ``await ledger.run(Ledger.add, contribution)``.
        """
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


class OutboxThread:
    """Runs calls of the outbox on the thread of a `LedgerThread`, in one line with its calls."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger

    async def run(
        self, work: Callable[Concatenate[Outbox, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method of `Outbox`, or a function whose first argument is one, on the thread.

        Example: ``await ledger.outbox.run(Outbox.confirm, id, at, how)``.
        """

        def on_outbox(ledger: Ledger) -> T:
            return work(ledger.outbox, *args, **kwargs)

        return await self._ledger.run(on_outbox)
