"""Keeps the curves of the swarm that we are in on the disk, and puts them back when it is rejoined.

The file is only read and written in a thread. Nothing here may keep anybody from training: a file
that can't be used is told in the log, and the charts then begin anew.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.common.background import Background
from app.common.errors import DatabaseError
from app.curves.storage import CurveFile, RingName, StoredRun
from app.state.events import Event, JoinBegan, Left
from app.state.facts import Swarm
from app.state.history import RESOLUTIONS, Bucket, History
from app.state.state import ContributorState

log = logging.getLogger(__name__)

T = TypeVar("T")

SAVE_SECONDS = 30.0
"""What a crash may cost of the curves."""


class CurveKeeper:
    """Between the history and its file, from `open` to `close`.

    history: has recorded each event before `note` is called with it.
    """

    def __init__(self, history: History, *, file: Path) -> None:
        self._history = history
        self._path = file
        self._file: CurveFile | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="curves")
        self._background = Background()
        self._swarm: Swarm | None = None  # whose curves the history holds, with the earlier ones
        self._written: dict[RingName, Bucket] = {}  # the newest one of each ring in the file
        self._complained = False

    async def open(self) -> None:
        """Open the file, and begin to write every `SAVE_SECONDS`."""
        try:
            self._file = await self._run(partial(CurveFile.open, self._path))
        except DatabaseError as error:
            log.warning("the charts' curves can't be kept: %s", error.text)
            return
        self._saving = self._background.start(self._keep_saving())

    async def close(self) -> None:
        """Write what is new, and close the file. May be called twice, and without `open`."""
        await self._background.close()
        self._save()
        file, self._file = self._file, None
        if file is not None:
            await self._survive(file.close)  # after all that was to be written
        self._thread.shutdown(wait=False)

    def note(self, event: Event, _state: ContributorState) -> None:
        """Listen to events: write when a swarm is left, read when one is joined."""
        match event:
            case Left():
                self._save()
                self._swarm = None
            case JoinBegan(swarm=swarm):
                self._swarm, self._written = None, {}
                if swarm is not None and self._file is not None:
                    earlier = self._restore(self._file, swarm, self._written)
                    self._restoring = self._background.start(earlier)

    async def forget(self, pattern: str) -> None:
        """Drop the curves of runs whose id fits a pattern, such as ``demo-*``."""
        if self._file is not None:
            await self._survive(self._file.forget, pattern)

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
        if self._file is not None:
            load = partial(self._file.load, until=time.time())
            _put_back(found, await self._survive(load, run_id) or {})
        return found

    async def _restore(
        self, file: CurveFile, swarm: Swarm, written: dict[RingName, Bucket]
    ) -> None:
        earlier = await self._survive(partial(file.load, until=time.time()), swarm.run_id)
        if written is not self._written:  # another swarm was joined meanwhile
            return
        for ring, buckets in _put_back(self._history, earlier or {}).items():
            written[ring] = buckets[-1]
        self._swarm = swarm

    # --- writing

    def _save(self) -> None:
        """Hand what has changed to the thread; returns at once."""
        file, swarm = self._file, self._swarm
        if file is None or swarm is None or not (changes := self._changes()):
            return
        run = StoredRun(run_id=swarm.run_id, title=swarm.title, saved_at=time.time())
        self._written |= {ring: buckets[-1] for ring, buckets in changes.items()}
        saving = asyncio.get_running_loop().run_in_executor(
            self._thread, partial(file.save, run, changes)
        )
        saving.add_done_callback(partial(self._saved, self._written))

    def _changes(self) -> dict[RingName, list[Bucket]]:
        """The buckets that are new; and the newest one before them, if it got more values."""
        found = {}
        for name, series in self._history.series.items():
            for resolution in RESOLUTIONS:
                newest = self._written.get((name, resolution))
                buckets = series.buckets(resolution, newest[0] if newest else 0)
                if buckets and buckets != [newest]:
                    found[name, resolution] = buckets
        return found

    def _saved(self, written: dict[RingName, Bucket], saving: "asyncio.Future[None]") -> None:
        """After a failure, all that the history holds is written again."""
        if (error := saving.exception()) is None:
            return
        self._complain(error)
        written.clear()

    # --- the thread

    async def _survive(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """The result of reading; None where it failed."""
        try:
            return await self._run(work, *arguments)
        except sqlite3.Error as error:
            self._complain(error)
            return None

    def _complain(self, error: BaseException) -> None:
        if not self._complained:
            log.warning("the charts' curves can't be kept: %s: %s", self._path, error)
        self._complained = True

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _put_back(
    history: History, rings: Mapping[RingName, list[Bucket]]
) -> dict[RingName, list[Bucket]]:
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
