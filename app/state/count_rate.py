"""Samples per second of the clock, from a count that grows in jumps, waits included."""

from collections import deque

LEAST_SECONDS = 2.0
"""Below it, a rate would be an accident of when the reports came."""

WINDOW_SECONDS, LONGEST_SECONDS = 10.0, 120.0
"""A rate is over the last 10 s; on a slow machine over its last two steps, 2 min at most."""


class CountRate:
    """The rate of one count. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._grew_at: float | None = None
        self._between = 0.0  # the last two times that it grew

    def add(self, now: float, count: int) -> float | None:
        """Take the count as of now; returns what was added per second, None where that isn't
        known yet."""
        if self._seen and (count < self._seen[-1][1] or now < self._seen[-1][0]):
            self.clear()  # a count that begins anew, or a clock that was set back
        if self._seen and count > self._seen[-1][1]:
            self._between = 0.0 if self._grew_at is None else now - self._grew_at
            self._grew_at = now
        self._seen.append((now, count))
        window = min(LONGEST_SECONDS, max(WINDOW_SECONDS, 2 * self._between))
        while len(self._seen) > 2 and self._seen[1][0] <= now - window:
            self._seen.popleft()
        then, before = self._seen[0]
        return (count - before) / (now - then) if now - then >= LEAST_SECONDS else None

    def clear(self) -> None:
        """Begin anew."""
        self._seen.clear()
        self._grew_at, self._between = None, 0.0

    def __len__(self) -> int:
        return len(self._seen)
