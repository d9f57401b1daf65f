"""Adapts uvicorn: it runs in the app's loop, leaves signals alone, cuts slow connections and keeps
those of one caller from taking the places of all."""

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.common.rate_limit import RateLimit

REQUEST_SECONDS = 10.0
"""How long a connection may go without a complete request, head and body.

The time runs from the opening of the connection, or from the first byte of a later request."""

UNREAD_SECONDS = 10.0
"""How long a caller may read nothing of an answer that waits for it."""

MOST_CONNECTIONS = 400
"""Connections that may be open at the same time. Several times `ACCEPTED_AT_ONCE`, so that a caller
whose request is on its way isn't dropped for those that come right after it."""

ACCEPTED_AT_ONCE = 64
"""Connections that asyncio accepts before it reads what came over earlier ones."""

QUEUED = 1024
"""Connections that the kernel keeps until they are accepted. If there is no room, a caller's own
kernel tries again only after a second."""


class Connections(ServerState):
    """The connections of one server.

    Callers on loopback can't be told apart, so no caller has a number of places. Instead, when all
    places are taken, the connection goes that has waited longest for its first request: an honest
    caller's waits some milliseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.new: dict[ImpatientProtocol, None] = {}
        """Those without any complete request so far, the longest wait first."""

        self.idle: dict[ImpatientProtocol, None] = {}
        """Those that were answered and wait for the next request, in the same order."""

    def make_room(self) -> None:
        """Cut a connection if there are too many."""
        longest = next(itertools.chain(self.new, self.idle), None)
        if longest is not None and len(self.connections) > MOST_CONNECTIONS:
            longest.cut()


class ImpatientProtocol(H11Protocol):
    """Cuts connections whose requests come too slowly, or whose answers are not read; uvicorn
    itself would wait forever."""

    request_seconds = REQUEST_SECONDS
    unread_seconds = UNREAD_SECONDS
    server_state: Connections
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._watch()
        self.server_state.make_room()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the time limit ends when the request is complete."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes the connection if none begins for 5 s."""
        super().on_response_complete()
        if self._incomplete and not self.transport.is_closing():
            self.server_state.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time limits."""
        self._stop_clock()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller doesn't read: start a time limit."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.unread_seconds, self.cut)

    def resume_writing(self) -> None:
        """The caller reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def shutdown(self) -> None:
        """Close the connection: at once if its request is incomplete, else after the answer."""
        super().shutdown()
        if self._incomplete:
            self.transport.abort()

    def cut(self) -> None:
        """End the connection, whatever was still to be read or sent."""
        self._stop_clock()
        self.transport.abort()

    @property
    def _incomplete(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _watch(self) -> None:
        if not self._incomplete or self.transport.is_closing():
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self._give_up)
            if self not in self.server_state.idle:
                self.server_state.new[self] = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._incomplete:
            self.cut()

    def _stop_clock(self) -> None:
        self.server_state.new.pop(self, None)
        self.server_state.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = Connections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(QUEUED)  # asyncio has one number for this and for `ACCEPTED_AT_ONCE`

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to the app."""
        yield


class FewLines(logging.Filter):
    """Lets each kind of message pass only a few times a minute, and counts the others.

    uvicorn logs each request that it can't read and each try of a WebSocket, and any web page in
    the volunteer's browser can make those, so that all other lines would be pushed out of the log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limit = RateLimit(rate=0.1, burst=5)
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        kind = str(record.msg)
        if record.levelno < logging.WARNING:
            return True
        if self._limit.take(kind) > 0:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg = f"{kind.rstrip()} (and {left_out} more like this before)"
        return True


_FEW_LINES = FewLines()


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
        backlog=ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate or None,
        ssl_keyfile=key or None,
    )
    config.load()
    logging.getLogger("uvicorn.error").addFilter(_FEW_LINES)  # adding it again changes nothing
    return config
