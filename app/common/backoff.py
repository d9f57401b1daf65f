"""When to try again: exponential back-off with full jitter."""

import random
from collections.abc import Callable


class Backoff:
    """A gate that closes for longer after each failure in a row, and opens after a success.

    The wait after failure number n is drawn evenly from 0 to first·2ⁿ⁻¹ seconds, at most
    ``longest`` (full jitter), so that many machines that lost the same backend don't come back to
    it all at once. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        first: float,
        longest: float,
        clock: Callable[[], float],
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._opens_at = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until the gate opens; 0 when it is open."""
        return max(0.0, self._opens_at - self._clock())

    def fail(self, *, at_least: float = 0.0) -> float:
        """Close the gate after a failure; returns for how many seconds.

        ``at_least`` seconds, such as a server's Retry-After, are waited before the jitter.
        """
        self._failures += 1
        wait = at_least + self.jitter(self._failures)
        self._opens_at = self._clock() + wait
        return wait

    def jitter(self, failures: int) -> float:
        """A random wait in seconds after so many failures in a row (1 or more)."""
        highest = self._first * 2.0 ** min(failures - 1, 30)
        return self._draw(0.0, min(self._longest, highest))

    def resume(self, *, failures: int, remaining: float) -> None:
        """Restore the failures in a row and the remaining seconds of an earlier run of the app."""
        self._failures = failures
        self._opens_at = self._clock() + remaining

    def clear(self) -> None:
        """Open the gate after a success, or because the user doesn't want to wait."""
        self._failures = 0
        self._opens_at = 0.0
