"""uvicorn, made to live in a loop that isn't its own, and to lose patience with callers."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""A request must be complete, head and body, so soon after its first byte, and a connection
must have begun one so soon after it was opened."""

MOST_CONNECTIONS = 100


class ImpatientProtocol(H11Protocol):
    """Cuts connections whose requests come too slowly: uvicorn itself would wait for ever."""

    request_seconds = REQUEST_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some more of a request: the clock runs on until it is complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection, at once when its request isn't complete yet."""
        super().shutdown()
        if self._incomplete:
            self.transport.abort()

    @property
    def _incomplete(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _watch(self) -> None:
        if not self._incomplete:
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self._incomplete and not self.transport.is_closing():
            self.transport.abort()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A server that leaves the process's signals to the app."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def configured(app: Any, *, certificate: str, key: str) -> uvicorn.Config:
    """How we want uvicorn: quiet, without its own loop, trusting no header about who calls.

    Reads the certificate, and imports what it needs.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,  # its loggers are ours then
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate or None,
        ssl_keyfile=key or None,
    )
    config.load()
    return config
