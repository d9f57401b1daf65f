"""Tasks that somebody owns: none is lost, none fails in silence."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

LOST_SECONDS = 1.0
"""After so long, a cancel without effect is said again."""


class Background:
    """The tasks of one owner, who ends them with `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run it beside; a failure is logged."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    async def close(self) -> None:
        """End what still runs, and wait for its end. May be called twice."""
        await end(*self._tasks)


async def end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks, and wait for their end, whatever it is.

    A cancel is said again where it got lost: `asyncio.wait_for`, which libraries use, loses one
    that comes just as what it waits for is done (before Python 3.12).
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _ended, running = await asyncio.wait(running, timeout=LOST_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
