"""Adapts uvicorn: it runs in the app's loop, leaves signals alone and cuts slow connections."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""How long a connection may go without a complete request, head and body.

The time runs from the opening of the connection, or from the first byte of a later request."""

MOST_CONNECTIONS = 100
"""Connections that may be open at the same time."""


class ImpatientProtocol(H11Protocol):
    """Cuts connections whose requests come too slowly; uvicorn itself would wait forever."""

    request_seconds = REQUEST_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the time limit ends when the request is complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time limit."""
        self._stop_clock()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection: at once if its request is incomplete, else after the answer."""
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
    """A uvicorn server that installs no signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to the app."""
        yield


def configured(app: Any, *, certificate: str, key: str) -> uvicorn.Config:
    """A loaded configuration: no access log, the app's loop, no trust in proxy headers.

    certificate, key: paths of PEM files, "" for plain HTTP. Reads them and imports what uvicorn
    needs. Raises `OSError` when they can't be used.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,  # leaves its loggers to the app's logging
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
