"""Sends the state and the charts' new points to the page, as server-sent events."""

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi.sse import ServerSentEvent

from app.common.errors import BusyError
from app.common.i18n import _
from app.state.history import BUCKETS, RESOLUTIONS, Bucket, History, Series
from app.state.state import ContributorState
from app.state.store import ReadableStore

INTERVAL_SECONDS = 1.0
"""Between two events: nobody reads faster, and the trainer needs the processor."""

MOST_PAGES = 16
"""Streams that may be open at the same time."""

Point = tuple[float, float | None]
"""A time in seconds since the epoch, and the value; None is a gap."""


class PageStream:
    """The open streams of all pages.

    tell: makes the event of a state. closing: set when the app ends, which ends them.
    """

    def __init__(
        self,
        store: ReadableStore,
        *,
        history: History,
        tell: Callable[[ContributorState], dict[str, Any]],
        closing: asyncio.Event,
    ) -> None:
        self._store = store
        self._history = history
        self._tell = tell
        self._closing = closing
        self._open = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one stream. Raises `BusyError` if all are taken."""
        if self._open >= MOST_PAGES:
            raise BusyError(_("there are {count} streams already.").format(count=MOST_PAGES))
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def events(
        self, seconds: float, *, may_read: Callable[[], bool]
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield ``state`` when it has changed, and ``curves`` when they have new points.

        seconds: how far the curves reach back. may_read: asked each time, since whoever reads may
        have signed out; False ends the stream.
        """
        told: ContributorState | None = None
        feed = CurveFeed(self._history, seconds)
        numbers = itertools.count(1)
        while not self._closing.is_set() and may_read():
            state = self._store.state
            if state is not told:  # it is frozen: a change makes another one
                told = state
                yield _event("state", self._tell(state), next(numbers))
            if points := feed.take(state.swarm.run_id if state.swarm else ""):
                yield _event("curves", points, next(numbers))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._closing.wait()


def _event(name: str, data: dict[str, Any], number: int) -> ServerSentEvent:
    return ServerSentEvent(event=name, data=data, id=str(number))


class CurveFeed:
    """What a reader of the curves hasn't got yet.

    seconds: how far back they go. The resolution is the finest that reaches that far.
    """

    def __init__(self, history: History, seconds: float) -> None:
        fitting = (each for each in RESOLUTIONS if seconds <= each * BUCKETS)
        self.resolution = next(fitting, RESOLUTIONS[-1])
        self._seconds = seconds
        self._history = history
        self._run_id = ""
        self._firsts: dict[str, float | None] = {}
        self._sent: dict[str, Bucket] = {}

    def take(self, run_id: str) -> dict[str, Any] | None:
        """The new points of each curve; None without any.

        A point with the time of the last one replaces it. ``reset`` says that all earlier points
        are void: of another swarm, or before others that were put back from the disk.
        """
        reset = self._is_other(run_id)
        if reset:
            self._sent = {}
        series = self._history.series
        found = {name: points for name in series if (points := self._points(name, series[name]))}
        if not found and not reset:
            return None
        return {"reset": reset, "resolution": self.resolution, "curves": found}

    def _is_other(self, run_id: str) -> bool:
        """The curves aren't those of which points were sent."""
        firsts = {name: series.first for name, series in self._history.series.items()}
        earlier, self._firsts = self._firsts, firsts
        other, self._run_id = run_id != self._run_id, run_id
        return other or any(_begins_anew(earlier.get(name), firsts[name]) for name in firsts)

    def _points(self, name: str, series: Series) -> list[Point]:
        last = self._sent.get(name)
        since = last[0] if last else math.floor((time.time() - self._seconds) / self.resolution)
        buckets = series.buckets(self.resolution, since)
        if not buckets or buckets == [last]:
            return []
        self._sent[name] = buckets[-1]
        return [
            ((index + 0.5) * self.resolution, total / count if count else None)
            for index, total, count in buckets
        ]


def _begins_anew(before: float | None, now: float | None) -> bool:
    """The curve was cleared, or got earlier points."""
    return before is not None and (now is None or now < before)
