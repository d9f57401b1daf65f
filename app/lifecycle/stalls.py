"""How long the loop stalls: measured while debugging, and by the benchmark."""

import asyncio
import logging
import time

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.01


async def log_stalls(every: float = 1.0) -> None:
    """Log the longest gap between two beats of the loop, every ``every`` seconds, for ever.

    With it goes how much of the gap the loop's own thread worked: the rest it waited, for the
    interpreter's lock or for a core.
    """
    longest, worked = 0.0, 0.0
    last, last_worked = time.monotonic(), time.thread_time()
    logged = last
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        now, now_worked = time.monotonic(), time.thread_time()
        if now - last > longest:
            longest, worked = now - last, now_worked - last_worked
        last, last_worked = now, now_worked
        if now - logged >= every:
            gap = {"milliseconds": round(longest * 1e3, 1), "worked": round(worked * 1e3, 1)}
            log.debug("longest gap", extra={**gap, "monotonic": now})
            longest, logged = 0.0, now
