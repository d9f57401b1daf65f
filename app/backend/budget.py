"""Limits our requests to well below what the backend allows: 100 in 15 minutes per IP address."""

import time
from collections import deque
from collections.abc import Callable

from app.backend.errors import RateLimitedError
from app.common.i18n import _

WINDOW_SECONDS = 15 * 60.0
REQUESTS = 60
"""Requests in `WINDOW_SECONDS`. Other machines behind the same address may use the rest."""

RESERVED = 30
"""The part of `REQUESTS` kept for what must not wait: reports, read-backs and the sign-in."""

MAX_PAUSE_SECONDS = 24 * 3600.0
"""The longest pause that we grant. If the backend asks for more, some clock is wrong."""


class Budget:
    """Counts requests in a sliding window, and remembers until when the backend wants none.

    requests: allowed in `WINDOW_SECONDS`. clock: monotonic seconds.
    """

    def __init__(
        self, *, requests: int = REQUESTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests = requests
        self._reserved = min(RESERVED, requests // 2)
        self._clock = clock
        self._times: deque[float] = deque()
        self._silent_until = 0.0

    def take(self, *, reserved: bool) -> None:
        """Count one request that is about to be sent.

        reserved: the request may use the reserved part of the budget.

        Raises `RateLimitedError` when the request must not be sent now; it isn't counted then.
        """
        wait = self._wait(reserved=reserved)
        if wait > 0:
            raise RateLimitedError(
                _("the backend allows no further requests for {seconds:.0f} s.").format(
                    seconds=wait
                ),
                seconds=wait,
            )
        self._times.append(self._clock())

    @property
    def wait(self) -> float:
        """Seconds until a reserved request may be sent; 0 if it may be sent now."""
        return self._wait(reserved=True)

    def _wait(self, *, reserved: bool) -> float:
        now = self._clock()
        while self._times and self._times[0] <= now - WINDOW_SECONDS:
            self._times.popleft()
        allowed = self._requests - (0 if reserved else self._reserved)
        excess = len(self._times) - allowed
        free_at = self._times[excess] + WINDOW_SECONDS if excess >= 0 else 0.0
        return max(0.0, free_at - now, self._silent_until - now)

    def be_silent(self, seconds: float) -> None:
        """Allow no request for ``seconds``, because the backend has asked for it."""
        self._silent_until = max(self._silent_until, self._clock() + seconds)
