"""Tells systemd, where it started us, that we are ready, what we do, and that we are alive.

The protocol is sd_notify(3): lines in datagrams to the socket that ``NOTIFY_SOCKET`` names.
"""

import asyncio
import logging
import os
import socket

from app.common.background import Background
from app.common.subscription import Subscription
from app.headless.display import as_line
from app.state.state import ContributorState
from app.state.store import ReadableStore

log = logging.getLogger(__name__)

STATUS_SECONDS = 5.0
"""Between two lines that say what we do."""


def notify(lines: str) -> None:
    """Send lines to the service manager; nothing where there is none.

    From sd_notify(3) of systemd (MIT-0).
    """
    if not (address := os.environ.get("NOTIFY_SOCKET", "")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect("\0" + address[1:] if address.startswith("@") else address)
            manager.sendall(lines.encode())
    except OSError as error:
        log.warning("the service manager can't be told: %s", error)


def watchdog_seconds() -> float | None:
    """How often the service manager wants to hear of us; None: not at all."""
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        is_ours = int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return None
    # twice as often as it must be, as systemd's manual advises
    return microseconds / 2e6 if is_ours and microseconds > 0 else None


class ServiceManager:
    """Between the store and the service manager, from `open` to `close`.

    What tells it that we are alive runs on the event loop, so a loop that hangs is noticed.
    """

    def __init__(self, store: ReadableStore) -> None:
        self._store = store
        self._background = Background()
        self._looking = Subscription()
        self._said = ""
        self._said_at = -STATUS_SECONDS

    def open(self) -> None:
        """Begin to tell what we do. Only where a service manager listens."""
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        self._looking = self._store.subscribe(self._look)
        if (seconds := watchdog_seconds()) is not None:
            self._living = self._background.start(_live(seconds))

    def _look(self, state: ContributorState) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said_at < STATUS_SECONDS:
            return
        self._said_at = now
        if (text := as_line(state)) != self._said:
            self._said = text
            notify(f"STATUS={text}")

    async def close(self) -> None:
        """Tell that we are ending. May be called twice, and without `open`."""
        self._looking.close()
        await self._background.close()
        notify("STOPPING=1")


async def _live(seconds: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
