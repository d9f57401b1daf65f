"""Tasks and threads that run beside their caller; whatever they raise is logged or handed on."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from app.common.errors import LibraryError

log = logging.getLogger(__name__)

T = TypeVar("T")

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


@contextlib.contextmanager
def survived(logger: logging.Logger, message: str, *arguments: object) -> Iterator[None]:
    """Log whatever the block raises, with its traceback, and go on after the block.

    For one round of a task that must outlive a failed round. Errors that can be expected belong
    in an ``except`` inside the block; what arrives here is a defect. A cancel passes through.

    message, arguments: the log record's text, as for `logging.Logger.error`.
    """
    try:
        yield
    except Exception:  # the boundary of a task: it logs the defect and lives on
        logger.exception(message, *arguments)


async def in_thread(call: Callable[[], T]) -> T:
    """Like `asyncio.to_thread`, but a cancel waits for the call's end: what comes after it would
    meet it halfway."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def run_in_thread(call: Callable[[], T], *, name: str) -> "asyncio.Future[T]":
    """Call a system's library in a new daemon thread; the future gets the result.

    The call may hang for ever: the interpreter doesn't wait for the thread at its end, and a
    cancelled future drops the result. The future raises `LibraryError` for whatever the call
    raises. For the running loop.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(_mark_as_seen)

    def settle(result: T | None, error: LibraryError | None) -> None:
        if future.done():  # cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result = error = None
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001  the one adapter of the system's libraries
            error = LibraryError(str(raised) or repr(raised))
            error.__cause__ = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _mark_as_seen(future: "asyncio.Future[Any]") -> None:
    """Keep asyncio from complaining when nobody waits for the failure any more."""
    if not future.cancelled():
        future.exception()
