"""Reports over the backend's Socket.IO interface, which accepts what its HTTP route refuses.

One connection is kept between reports, because each new one has to register the node. A heartbeat
is sent before each report: a dead connection then loses only the heartbeat. After a failure the
connection is dropped, so that a late answer to one report is never taken for the answer to the
next.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import engineio
import socketio
from socketio.exceptions import SocketIOError

from app.backend.errors import UncertainError, UnreachableError, shown
from app.backend.http import Http, give_up_early
from app.backend.node import NodeSource
from app.common.background import end
from app.common.i18n import _
from app.contributions.accounting import Contribution

log = logging.getLogger(__name__)
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.CRITICAL)  # the library logs a server's leaving as an error

NAMESPACE = "/hivemind"

CLOSE_SECONDS = 2.0
"""Longest time to close a connection."""

HEARTBEAT_SECONDS = 5.0
"""How long to wait for the answer to a heartbeat."""

MAX_MESSAGE_BYTES = 64 * 1024
"""Largest message of the backend."""

MOST_QUEUED = 64
"""Messages that wait to be sent. A server may ask for answers to its pings and never read them."""

_FAILURES = (
    *(SocketIOError, aiohttp.ClientError, OSError, TimeoutError),
    *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
)
"""What the libraries raise when a connection fails or an answer can't be parsed."""

_EVENTS = {
    "register_node": ("registration_success", "registration_error"),
    "heartbeat": ("heartbeat_ack",),
    "submit_contribution": ("contribution_confirmed", "contribution_error"),
}
"""The events that we emit, each with the events that answer it; the first means success."""

_FAILED = "exception"
"""The event with which the backend's framework answers any event that has failed."""


class LiveChannel:
    """At most one connection, which stands for one node at a time.

    node: asked for this machine's data when the node registers.
    """

    def __init__(self, http: Http, *, node: NodeSource) -> None:
        self.connections = 0
        """How many connections were made."""
        self._http = http
        self._node = node
        self._connection: _Connection | None = None
        self._bound = ""
        self._busy = asyncio.Lock()

    async def submit(self, contribution: Contribution) -> None:
        """Report a contribution.

        Raises `UnreachableError` when it was not sent. Any other failure is an `UncertainError`,
        because the backend may have counted the report before it answered with an error.
        """
        async with self._busy:
            connection = await self._ready(contribution.participant)
            try:
                async with self._dropped_on_failure():
                    said, content = await connection.exchange(
                        "submit_contribution", _numbers(contribution), seconds=self._http.timeout
                    )
            except _FAILURES as error:
                raise UncertainError(
                    _("the answer was lost: {reason}.").format(reason=_reason(error))
                ) from error
            if said != "contribution_confirmed" or not _is_about(content, contribution):
                await self._drop()
                raise UncertainError(
                    _("the backend couldn't take it: {reason}.").format(reason=_text(content))
                )

    async def close(self) -> None:
        """Close the connection. May be called twice; the next report opens a new one."""
        async with self._busy:
            await self._drop()

    async def _ready(self, node_id: str) -> "_Connection":
        """A working connection that is registered as this node. No report is sent yet."""
        if self._bound != node_id or self._connection is None or not self._connection.open:
            await self._drop()
        try:
            async with self._dropped_on_failure():
                if self._connection is None:
                    self._connection = _Connection(
                        trust=await self._http.tls(), proxies=self._http.uses_proxies
                    )
                    await self._connection.connect(self._http.url, seconds=self._http.timeout)
                    await self._register(self._connection, node_id)
                    self.connections += 1
                await _beat(self._connection)
        except _FAILURES as error:
            raise _unreachable(self._http.url, error) from error
        return self._connection

    @contextlib.asynccontextmanager
    async def _dropped_on_failure(self) -> AsyncIterator[None]:
        """Close the connection when the block fails or is cancelled."""
        async with contextlib.AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self._drop)
            yield
            on_failure.pop_all()

    async def _register(self, connection: "_Connection", node_id: str) -> None:
        """Bind the connection to the node.

        A backend without a blockchain key answers with an error, and has bound the connection.
        """
        said, content = await connection.exchange(
            "register_node",
            {"nodeId": node_id, "nodeData": self._node.data().document()},
            seconds=self._http.timeout,
        )
        if said != "registration_success":
            log.info("the backend registered the node with an error: %s", _text(content))
        self._bound = node_id

    async def _drop(self) -> None:
        connection, self._connection, self._bound = self._connection, None, ""
        if connection is not None:
            await connection.close()


async def _beat(connection: "_Connection") -> None:
    with contextlib.suppress(TimeoutError):  # some backends don't answer heartbeats
        await connection.exchange("heartbeat", {"metrics": {}}, seconds=HEARTBEAT_SECONDS)


class _Connection:
    """One Socket.IO connection on which each event is answered before the next is emitted."""

    def __init__(self, *, trust: Any, proxies: bool) -> None:
        self._sockets: list[socket.socket] = []
        self._loops: list[asyncio.Task[None]] = []
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, socket_factory=self._socket),
            trace_configs=[_no_redirects()],
            trust_env=proxies,
        )
        self._client = _BoundedClient(
            reconnection=False,
            handle_sigint=False,  # the app handles it
            logger=_wire_log,
            engineio_logger=_wire_log,
            http_session=self._session,
            websocket_extra_options={"max_msg_size": MAX_MESSAGE_BYTES},
        )
        self._answer: asyncio.Future[tuple[str, Any]] | None = None
        self._expected: tuple[str, ...] = ()
        for name in (*itertools.chain(*_EVENTS.values()), _FAILED):
            self._client.on(name, self._on_event(name), namespace=NAMESPACE)
        self._client.on("disconnect", self._lost, namespace=NAMESPACE)

    @property
    def open(self) -> bool:
        """Whether it is connected, as far as the library knows; only use shows a dead one."""
        return bool(self._client.connected)

    async def connect(self, url: str, *, seconds: float) -> None:
        """Connect over a WebSocket only, because each poll would count as a request.

        seconds: the longest time that connecting may take.
        """
        path = urlsplit(url).path.strip("/")
        async with asyncio.timeout(seconds):
            await self._client.connect(
                url,
                transports=["websocket"],
                namespaces=[NAMESPACE],
                socketio_path=f"{path}/socket.io".lstrip("/"),
                wait_timeout=seconds,
            )
        engine = self._client.eio
        self._loops = [engine.read_loop_task, engine.write_loop_task]

    async def exchange(self, event: str, content: Any, *, seconds: float) -> tuple[str, Any]:
        """Emit an event and wait for its answer; returns the answer's name and content.

        Raises `TimeoutError` after ``seconds``.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._expected = (*_EVENTS[event], _FAILED)
        try:
            async with asyncio.timeout(seconds):
                await self._client.emit(event, content, namespace=NAMESPACE)
                return await self._answer
        finally:
            self._answer = None

    def _on_event(self, name: str) -> Callable[..., None]:
        def take(content: Any = None, *_more: Any) -> None:
            if self._answer is None or self._answer.done():
                return
            if name in self._expected:  # else it is a late answer to an earlier event
                self._answer.set_result((name, content))

        return take

    def _lost(self, *_reason: Any) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(_("the connection was closed")))

    async def close(self) -> None:
        """Disconnect, if still connected, and free what was used."""
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.shutdown()
        for each in self._sockets:  # else a server that never reads would hold us
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        await end(*self._loops)
        await self._session.close()

    def _socket(self, address: Any) -> socket.socket:
        """A socket for an address of `socket.getaddrinfo`."""
        family, kind, protocol, *_rest = address
        made = socket.socket(family, kind, protocol)
        give_up_early(made)
        self._sockets.append(made)
        return made


class _BoundedEngine(engineio.AsyncClient):  # type: ignore[misc]
    """Stops reading while too many messages wait to be sent."""

    def create_queue(self, *_sizes: Any, **_more: Any) -> "asyncio.Queue[Any]":
        return asyncio.Queue(MOST_QUEUED)


class _BoundedClient(socketio.AsyncClient):  # type: ignore[misc]
    """Leaves a server that sends what can't be parsed, or attachments, which socketio would collect
    in any number. Our events have none."""

    def _engineio_client_class(self) -> type[engineio.AsyncClient]:
        return _BoundedEngine

    async def _handle_eio_message(self, data: Any) -> None:
        try:
            await super()._handle_eio_message(data)
            broken = self._binary_packet is not None
        except _FAILURES:
            broken = True
        if broken:
            await self.eio.disconnect(abort=True)


def _no_redirects() -> aiohttp.TraceConfig:
    """Make a redirect an error, so that a WebSocket is only opened at the user's address."""

    async def refuse(_session: Any, _context: Any, params: Any) -> None:
        raise aiohttp.ClientConnectionError(f"{params.url} redirects elsewhere")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


def _unreachable(url: str, error: BaseException) -> UnreachableError:
    return UnreachableError(
        _("the backend's live channel at {host} can't be reached: {reason}.").format(
            host=urlsplit(url).netloc, reason=_reason(error)
        ),
        field="backend_url",
        remedy=_("Check your network and the backend's address."),
    )


def _numbers(contribution: Contribution) -> dict[str, Any]:
    """The report without the participant, because the connection is bound to it."""
    report = contribution.report()
    del report["participant"]
    return report


def _is_about(content: Any, contribution: Contribution) -> bool:
    return not isinstance(content, dict) or content.get("sessionId") in (
        None,
        contribution.session_id,
    )


def _reason(error: BaseException) -> str:
    return (
        _("no answer came in time") if isinstance(error, TimeoutError) else shown(error).rstrip(".")
    )


def _text(content: Any) -> str:
    """The text of an error event, which may be in ``message``, in ``error`` or the content."""
    if isinstance(content, dict):
        return shown(content.get("message") or content.get("error") or content)
    return shown(content)
