"""Round-trip times to the connected peers, a few measured at a time.

Each look measures the peers whose last measurement is the oldest, so that a thousand peers cost
the network no more than ten do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from app.common.background import end

AT_ONCE = 4
AGAIN_SECONDS = 20.0
"""A measurement that is younger is not repeated."""

Ping = Callable[[str], Awaitable[bool]]
"""Pings a peer by its id; False when it doesn't answer. Raises nothing."""


class Latencies:
    """Measures in the background until `close`."""

    def __init__(self, ping: Ping) -> None:
        self._ping = ping
        self._known: dict[str, tuple[float, float | None]] = {}
        self._measuring: asyncio.Task[None] | None = None

    def of(self, peer_id: str) -> float | None:
        """The round-trip time in seconds; None when it isn't known."""
        return self._known.get(peer_id, (0.0, None))[1]

    def look(self, peer_ids: Iterable[str]) -> None:
        """Measure some of the peers that are connected now, and forget all others."""
        here = set(peer_ids)
        self._known = {key: value for key, value in self._known.items() if key in here}
        if self._measuring is not None and not self._measuring.done():
            return
        due = time.monotonic() - AGAIN_SECONDS
        never = (-1.0, None)
        old = sorted(here, key=lambda peer_id: self._known.get(peer_id, never)[0])
        chosen = [one for one in old[:AT_ONCE] if self._known.get(one, never)[0] < due]
        if chosen:
            self._measuring = asyncio.create_task(self._measure(chosen))

    async def _measure(self, peer_ids: list[str]) -> None:
        await asyncio.gather(*map(self._measure_one, peer_ids))

    async def _measure_one(self, peer_id: str) -> None:
        begun = time.monotonic()
        answered = await self._ping(peer_id)
        took = time.monotonic() - begun
        self._known[peer_id] = (time.monotonic(), took if answered else None)

    async def close(self) -> None:
        """Measure no more."""
        if self._measuring is not None:
            await end(self._measuring)
