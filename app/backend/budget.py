"""Our own limit on requests, well below the backend's 100 per 15 minutes and address."""

import time
from collections import deque
from collections.abc import Callable

from app.backend.errors import RateLimitedError
from app.common.i18n import _

WINDOW_SECONDS = 15 * 60.0
REQUESTS = 60
"""Per window. Others behind the same address have the rest."""

RESERVED = 30
"""Of them for what must not wait: reports, their reconciliation and the sign-in."""

MAX_PAUSE_SECONDS = 24 * 3600.0
"""A backend that wants a longer silence is a mistake of somebody's clock."""


class Budget:
    """Counts requests over a sliding window, and knows when the backend wants silence."""

    def __init__(
        self, *, requests: int = REQUESTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests = requests
        self._reserved = min(RESERVED, requests // 2)
        self._clock = clock
        self._times: deque[float] = deque()
        self._silent_until = 0.0

    def take(self, *, reserved: bool) -> None:
        """Account for one request. Raises `RateLimitedError` when it must not be sent now.

        reserved: it may use what is set aside for reports.
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
        """Seconds until a request of the reserved kind may be sent; 0 for now."""
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
        """Send nothing for a while: the backend has said so."""
        self._silent_until = max(self._silent_until, self._clock() + seconds)
