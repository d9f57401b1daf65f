"""Keeps the curves of the swarm that we are in on the disk, and puts them back when it is rejoined;
likewise its evaluations and samples.

Where the file can't be used, the charts begin anew.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from app.common.background import Background
from app.common.database import DatabaseThread
from app.curves import evaluations
from app.curves.storage import MIGRATIONS, CurveFile, RingName, StoredRun
from app.evaluation_messages import Evaluated, SampleGenerated
from app.state.events import EvaluationsRestored, Event, JoinBegan, Left
from app.state.facts import RunEvaluations, Swarm
from app.state.history import RESOLUTIONS, Bucket, History
from app.state.state import ContributorState

SAVE_SECONDS = 30.0
"""What a crash may cost of the curves."""

Rings = dict[RingName, list[Bucket]]


@dataclass
class _Written:
    """What the file has of a run."""

    newest: dict[RingName, Bucket] = field(default_factory=dict)
    """The newest bucket of each ring."""
    evaluations: RunEvaluations = field(default_factory=RunEvaluations)

    def forget(self) -> None:
        """A write failed: all that we hold is written again."""
        self.newest.clear()
        self.evaluations = RunEvaluations()


class CurveKeeper:
    """Between the history and its file, from `open` to `close`.

    history: has recorded each event before `note` is called with it. dispatch: called with
    `EvaluationsRestored`.
    """

    def __init__(self, history: History, *, file: Path, dispatch: Callable[[Event], None]) -> None:
        self._history, self._dispatch = history, dispatch
        self._file = DatabaseThread(file, migrations=MIGRATIONS, name="the charts' curves")
        self._background = Background()
        self._swarm: Swarm | None = None  # whose curves the history holds, with the earlier ones
        self._evaluations = RunEvaluations()
        self._written = _Written()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the file, and begin to write every `SAVE_SECONDS`."""
        await self._file.open()
        self._saving = self._background.start(self._keep_saving())

    async def close(self) -> None:
        """Write what is new, and close the file. May be called twice, and without `open`."""
        self._save()
        if self._writing is not None:
            await self._writing
        await self._background.close()
        await self._file.close()

    def note(self, event: Event, state: ContributorState) -> None:
        """Listen to events: write when a swarm is left, read when one is joined."""
        match event:
            case Evaluated() | SampleGenerated() | EvaluationsRestored():
                self._evaluations = RunEvaluations(
                    newest=state.evaluation, best=state.best_evaluation, samples=state.samples
                )
            case Left():
                self._save()
                self._swarm = None
            case JoinBegan(swarm=swarm):
                self._swarm = None
                self._evaluations, self._written = RunEvaluations(), _Written()
                if swarm is not None and self._file.is_open:
                    self._restoring = self._background.start(self._restore(swarm, self._written))

    async def forget(self, pattern: str) -> None:
        """Drop the curves of runs whose id fits a pattern, such as ``demo-*``."""
        await self._file.run(lambda connection: CurveFile(connection).forget(pattern))

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._save()

    # --- reading

    async def history_of(self, run_id: str) -> History:
        """The curves of a run, as far as they are kept: that of the swarm that we are in, or one
        read from the file. Only to be read."""
        if self._swarm is not None and self._swarm.run_id == run_id:
            return self._history
        found = History()
        _put_back(found, await self._load(run_id))
        return found

    async def _load(self, run_id: str) -> Rings:
        return await self._file.run(_load, run_id, until=time.time()) or {}

    async def _restore(self, swarm: Swarm, written: _Written) -> None:
        earlier = await self._load(swarm.run_id)
        kept = await self._file.run(evaluations.load, swarm.run_id, swarm.identity)
        if written is not self._written:  # another swarm was joined meanwhile
            return
        for ring, buckets in _put_back(self._history, earlier).items():
            written.newest[ring] = buckets[-1]
        self._swarm = swarm
        if kept is not None and kept != RunEvaluations():
            written.evaluations = kept
            self._dispatch(EvaluationsRestored(run_id=swarm.run_id, evaluations=kept))

    # --- writing

    def _save(self) -> None:
        """Begin to write what has changed, after what is being written; returns at once."""
        swarm, written = self._swarm, self._written
        if not self._file.is_open or swarm is None:
            return
        changes = self._changes()
        judged = self._evaluations if self._evaluations != written.evaluations else None
        if not changes and judged is None:
            return
        run = StoredRun(run_id=swarm.run_id, title=swarm.title, saved_at=time.time())
        written.newest |= {ring: buckets[-1] for ring, buckets in changes.items()}
        written.evaluations = self._evaluations
        saving = partial(_save, run=run, changes=changes, identity=swarm.identity, judged=judged)
        self._writing = self._background.start(self._write(saving, written, after=self._writing))

    async def _write(
        self,
        saving: Callable[[sqlite3.Connection], bool],
        written: _Written,
        *,
        after: "asyncio.Task[None] | None",
    ) -> None:
        if after is not None:
            await after
        if await self._file.run(saving) is None:
            written.forget()

    def _changes(self) -> Rings:
        """The buckets that are new; and the newest one before them, if it got more values."""
        found = {}
        for name, series in self._history.series.items():
            for resolution in RESOLUTIONS:
                newest = self._written.newest.get((name, resolution))
                buckets = series.buckets(resolution, newest[0] if newest else 0)
                if buckets and buckets != [newest]:
                    found[name, resolution] = buckets
        return found


def _load(connection: sqlite3.Connection, run_id: str, *, until: float) -> Rings:
    return CurveFile(connection).load(run_id, until=until)


def _save(
    connection: sqlite3.Connection,
    *,
    run: StoredRun,
    changes: Rings,
    identity: str,
    judged: RunEvaluations | None,
) -> bool:
    """judged: None where the file has the same already."""
    CurveFile(connection).save(run, changes)
    if judged is not None:
        evaluations.save(connection, run.run_id, identity, judged)
    return True


def _put_back(history: History, rings: Mapping[RingName, list[Bucket]]) -> Rings:
    """Restore the rings that this version of the app knows; returns them."""
    series = history.series
    known = {
        (name, resolution): buckets
        for (name, resolution), buckets in rings.items()
        if name in series and resolution in RESOLUTIONS
    }
    for (name, resolution), buckets in known.items():
        series[name].restore(resolution, buckets)
    return known
