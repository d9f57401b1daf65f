"""How many bytes of tensors may be sent and received in a second."""

import asyncio
import multiprocessing
import time

from app.protocol import Pace


class BandwidthLimit:
    """Limits the bytes a second of this process and of all processes forked from it together.

    Each message waits until the messages before it have had their time. While a message waits,
    hivemind takes no next message from us and none from the network. A rate of 0 is no limit.
    """

    def __init__(self) -> None:
        # The array's lock, like hivemind's averagers, reaches another process only by a fork.
        self._rate_and_free_at = multiprocessing.get_context("fork").Array("d", 2)

    def set(self, rate: float) -> None:
        """Change the limit. rate: bytes a second."""
        with self._rate_and_free_at.get_lock():
            self._rate_and_free_at[0] = rate

    async def wait(self, size: int) -> None:
        """Wait until a message of ``size`` bytes may pass."""
        now = time.monotonic()
        with self._rate_and_free_at.get_lock():
            rate, free_at = self._rate_and_free_at[:]
            if not rate:
                return
            starts_at = max(now, free_at)
            self._rate_and_free_at[1] = starts_at + size / rate
        await asyncio.sleep(starts_at - now)


UPLOAD, DOWNLOAD = BandwidthLimit(), BandwidthLimit()


def keep_to(pace: Pace) -> None:
    """Send and receive no faster than the app wants."""
    UPLOAD.set(pace.upload)
    DOWNLOAD.set(pace.download)
