"""Asking the system something that it may never answer."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, ParamSpec, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

DEADLINE_SECONDS = 0.5
"""All questions of one look are asked at once, and a look must not take long."""

STALE_SECONDS = 10.0


class Question(Generic[P, T]):
    """Asks in a daemon thread, and waits no longer than the deadline: a driver or a display may
    hang for good, and must not take the app with it. While one asks, no second one does.

    every: seconds for which an answer stays good. After that, it still is the best one to have
    for `STALE_SECONDS`, if no newer one comes in time.
    """

    def __init__(self, ask: Callable[P, T], *, every: float = 0.0) -> None:
        self._ask = ask
        self._name = getattr(ask, "__name__", type(ask).__name__)
        self._every = every
        self._asking: asyncio.Future[T] | None = None
        self._answer: T | None = None
        self._answered = float("-inf")
        self._complained = False

    async def answer(self, *arguments: P.args, **options: P.kwargs) -> T | None:
        """The answer; None where there is none, or it isn't there in time."""
        age = time.monotonic() - self._answered
        if age < self._every:
            return self._answer
        if self._asking is None:
            self._asking = self._start(*arguments, **options)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                self._answer = await asyncio.shield(self._asking)
        except TimeoutError:
            self._complain("no answer in time")
            return self._answer if age < self._every + STALE_SECONDS else None
        except Exception as error:  # noqa: BLE001  whatever a system's library raises
            self._complain(error)
            self._answer = None
        self._asking, self._answered = None, time.monotonic()
        return self._answer

    def _start(self, *arguments: P.args, **options: P.kwargs) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        asking: asyncio.Future[T] = loop.create_future()
        asking.add_done_callback(_look)

        def ask() -> None:
            try:
                settle = partial(asking.set_result, self._ask(*arguments, **options))
            except Exception as error:  # noqa: BLE001  raised again where it is awaited
                settle = partial(asking.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle)

        threading.Thread(target=ask, name=f"asks {self._name}", daemon=True).start()
        return asking

    def _complain(self, what: object) -> None:
        if not self._complained:
            self._complained = True
            log.info("%s can't be told: %s", self._name, what)


def _look(asked: "asyncio.Future[T]") -> None:
    """Nobody may be there any more to hear that it failed, of which asyncio would complain."""
    if not asked.cancelled():
        asked.exception()
