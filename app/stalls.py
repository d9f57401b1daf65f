"""How long the loop stalls: measured while debugging, and by the benchmark."""

import asyncio
import logging
import time

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.01


async def log_stalls(every: float = 1.0) -> None:
    """Log the longest gap between two beats of the loop, every ``every`` seconds, for ever."""
    longest, last = 0.0, time.monotonic()
    logged = last
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if now - logged >= every:
            milliseconds = round(longest * 1000, 1)
            log.debug("longest gap", extra={"milliseconds": milliseconds, "monotonic": now})
            longest, logged = 0.0, now
