"""Background tasks with an owner, who cancels them at its end and logs their failures."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

LOST_SECONDS = 1.0
"""A task that still runs this long after its cancel is cancelled again."""


class Background:
    """The background tasks of one owner, which must call `close` at its end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a coroutine as a task. An exception that it raises is logged."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    async def close(self) -> None:
        """Cancel the tasks that still run, and wait for their end. May be called twice."""
        await end(*self._tasks)


async def end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until each has ended, by a result, an exception or the cancel.

    A task that doesn't end is cancelled again after `LOST_SECONDS`: before Python 3.12,
    `asyncio.wait_for`, which libraries use, swallows a cancel that arrives in the same moment as
    the awaited result.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _ended, running = await asyncio.wait(running, timeout=LOST_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
