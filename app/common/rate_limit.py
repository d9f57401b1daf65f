"""Limits how often each caller may call: a token bucket per caller."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 1024
"""Callers that are remembered. The one that called longest ago is forgotten first."""


class RateLimit:
    """At most ``burst`` calls at once and ``rate`` a second on average, for each caller.

    patience: seconds for which a call above that may be held back instead of refused. It slows down
    a caller that calls in a loop.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        patience: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self.patience = patience
        self._clock = clock
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Count one call; returns the seconds to wait before it is answered.

        If that is more than ``patience``, the call must be refused, and isn't counted.
        """
        now = self._clock()
        left, since = self._callers.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        wait = max(0.0, (1 - left) / self._rate)
        self._callers[caller] = (left - 1 if wait <= self.patience else left, now)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        return wait
