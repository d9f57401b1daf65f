"""Questions to the system with a deadline, since a driver or a display may never answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from app.common.background import run_in_thread
from app.common.errors import LibraryError

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

DEADLINE_SECONDS = 0.5
"""Longest wait for an answer. All questions of one check are asked at once."""

STALE_SECONDS = 10.0
"""For so long an outdated answer is used when no newer one comes in time."""


class Question(Generic[P, T]):
    """Calls ``ask`` in a daemon thread and waits until the deadline at most.

    The thread may hang for good without blocking the app or its exit. While it runs, no second
    one is started. An answer is reused for ``every`` seconds without asking again.

    counts: an answer is what was counted since the one before. So none is given twice; one that is
    late is given to the next call.
    """

    def __init__(self, ask: Callable[P, T], *, every: float = 0.0, counts: bool = False) -> None:
        self._ask = ask
        self._name = getattr(ask, "__name__", type(ask).__name__)
        self._every = every
        self._counts = counts
        self._asking: asyncio.Future[T] | None = None
        self._answer: T | None = None
        self._answered = float("-inf")
        self._logged = False

    async def answer(self, *arguments: P.args, **options: P.kwargs) -> T | None:
        """The answer; None when ``ask`` raised, or gave no answer in time."""
        age = time.monotonic() - self._answered
        if age < self._every:
            return self._answer
        if self._asking is None:
            ask = partial(self._ask, *arguments, **options)
            self._asking = run_in_thread(ask, name=f"asks {self._name}")
        asking, answer = self._asking, None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await asyncio.shield(asking)
        except TimeoutError:
            self._log_once("no answer in time")
            stale = self._counts or age >= self._every + STALE_SECONDS
            return None if stale else self._answer
        except LibraryError as error:
            self._log_once(error)
        if self._asking is asking:  # else another who waited for it has asked again already
            self._asking, self._answer, self._answered = None, answer, time.monotonic()
        return answer

    def _log_once(self, what: object) -> None:
        if not self._logged:
            self._logged = True
            log.info("%s can't be told: %s", self._name, what)
