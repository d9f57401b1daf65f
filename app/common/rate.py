"""How fast a total grows, such as the bytes of a download."""

import time
from collections import deque

SECONDS = 10.0
"""The time over which a rate is measured."""

LEAST_SECONDS = 1.0
"""A rate over a shorter time says nothing."""


class Rate:
    """Of a total, which may begin anywhere."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, total: int) -> float | None:
        """Units a second over the last `SECONDS`; None when it is too early to say.

        total: now.
        """
        now = time.monotonic()
        self._seen.append((now, total))
        while self._seen[0][0] < now - SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (total - before) / (now - since) if now - since > LEAST_SECONDS else None
