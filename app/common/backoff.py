"""When to try again: exponential back-off with full jitter."""

import random
from collections.abc import Callable


class Backoff:
    """A gate that closes for longer after each failure, and opens for good after a success.

    first, longest: seconds; the wait after failure n is drawn from 0 to first·2ⁿ, so that many
    machines that lost the same backend don't come back to it all at once. clock: monotonic.
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
        """Seconds until it opens; 0 when it is open."""
        return max(0.0, self._opens_at - self._clock())

    def fail(self, *, at_least: float = 0.0) -> float:
        """Close it after a failure; returns for how many seconds."""
        self._failures += 1
        wait = at_least + self.jitter(self._failures)
        self._opens_at = self._clock() + wait
        return wait

    def jitter(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        highest = self._first * 2.0 ** min(failures - 1, 30)
        return self._draw(0.0, min(self._longest, highest))

    def resume(self, *, failures: int, remaining: float) -> None:
        """Go on where an earlier run of the app was."""
        self._failures = failures
        self._opens_at = self._clock() + remaining

    def clear(self) -> None:
        """Open it: there was a success, or the user doesn't want to wait."""
        self._failures = 0
        self._opens_at = 0.0
