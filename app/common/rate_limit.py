"""How often somebody may call: a bucket of allowances per caller that fills up steadily."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 1024
"""Callers that are remembered; who wasn't seen for longest is forgotten first."""


class RateLimit:
    """At most ``burst`` calls at once, and ``rate`` a second on average, for each caller.

    patience: seconds that a call beyond that may be held back until its turn, rather than be
    refused. Who calls in a loop is slowed down by it, and costs no more than others.
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
        """Use up one call. Returns how many seconds to wait for it; when that is more than the
        patience, the call is refused and doesn't count."""
        now = self._clock()
        left, since = self._callers.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        wait = max(0.0, (1 - left) / self._rate)
        self._callers[caller] = (left - 1 if wait <= self.patience else left, now)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        return wait
