"""How often somebody may call: a bucket of allowances per caller that fills up steadily."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 1024
"""Callers that are remembered; who wasn't seen for longest is forgotten first."""


class Limit:
    """At most ``burst`` calls at once, and ``rate`` a second on average, for each caller."""

    def __init__(
        self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Use up one call. Returns 0, or how many seconds to wait when there is none left."""
        now = self._clock()
        left, since = self._callers.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        allowed = left >= 1
        self._callers[caller] = (left - 1 if allowed else left, now)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate
