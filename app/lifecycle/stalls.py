"""Measure how long the event loop is blocked, with debug logging on and in the benchmark."""

import asyncio
import logging
import time

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.01
"""Between two wake-ups; a longer gap means that the loop was blocked."""


async def log_stalls(every: float = 1.0) -> None:
    """Log the longest gap between two wake-ups of the loop every ``every`` seconds, for ever.

    ``worked`` in the log line is the CPU time of the loop's own thread in that gap. For the rest
    of the gap the thread waited for the GIL or for a CPU core.
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
