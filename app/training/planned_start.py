"""A start that is made by itself after a while, unless it is forgotten before."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from app.common.background import Background


class PlannedStart:
    """At most one start that is planned.

    start: makes it. Once it is under way, it isn't cancelled any more.
    """

    def __init__(self, start: Callable[[], Awaitable[None]], *, background: Background) -> None:
        self._start = start
        self._background = background
        self._waiting: asyncio.Task[None] | None = None

    def plan(self, delay: float) -> float:
        """Plan it in so many seconds; returns when that is, in seconds since the epoch."""
        self._waiting = self._background.start(self._after(delay))
        return time.time() + delay

    def forget(self) -> None:
        """Don't make it. Nothing happens when none is planned."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    async def _after(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._waiting = None
        await self._start()
