"""Reporting over the backend's Socket.IO, which takes what its HTTP route refuses.

One connection, kept between reports, because each new one registers the node anew. A heartbeat
goes before each report: it may be lost without harm, so a dead connection shows before anything
is at stake. After any doubt the connection is dropped, so that a late answer to one report is never
taken for the answer to another.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import socketio
from socketio.exceptions import SocketIOError

from app.backend.errors import UncertainError, UnreachableError
from app.backend.http import Http
from app.backend.node import NodeSource
from app.common.i18n import _
from app.contributions.accounting import Contribution

log = logging.getLogger(__name__)
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.CRITICAL)  # the library calls it an error when a server leaves

NAMESPACE = "/hivemind"
CLOSE_SECONDS = 2.0
PULSE_SECONDS = 5.0

_FAILURES = (SocketIOError, aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError)
"""What a connection may raise, garbled answers included."""

_EVENTS = {
    "register_node": ("registration_success", "registration_error"),
    "heartbeat": ("heartbeat_ack",),
    "submit_contribution": ("contribution_confirmed", "contribution_error"),
}
"""What is emitted, and what it is answered with, the success first."""

_FAILED = "exception"
"""How the backend's framework says that any of them has failed."""


class LiveChannel:
    """At most one connection, for one node at a time. node: asked when it registers."""

    def __init__(self, http: Http, *, node: NodeSource) -> None:
        self._http = http
        self._node = node
        self._connection: _Connection | None = None
        self._bound = ""
        self._busy = asyncio.Lock()

    async def submit(self, contribution: Contribution) -> None:
        """Report a contribution.

        Raises `UnreachableError` when it was not sent, else `UncertainError`: an error of the
        backend doesn't tell whether it has counted before.
        """
        async with self._busy:
            connection = await self._ready(contribution.participant)
            try:
                said, content = await connection.exchange(
                    "submit_contribution", _numbers(contribution), seconds=self._http.timeout
                )
            except BaseException as error:
                await self._drop()
                if isinstance(error, _FAILURES):
                    raise UncertainError(
                        _("the answer was lost: {reason}.").format(reason=_reason(error))
                    ) from error
                raise
            if said != "contribution_confirmed" or not _is_about(content, contribution):
                await self._drop()
                raise UncertainError(
                    _("the backend couldn't take it: {reason}.").format(reason=_text(content))
                )

    async def close(self) -> None:
        """Leave. May be called twice; another report comes back."""
        async with self._busy:
            await self._drop()

    async def _ready(self, node_id: str) -> "_Connection":
        """A connection that lives, as this node. Nothing is at stake yet."""
        if self._bound != node_id or self._connection is None or not self._connection.open:
            await self._drop()
        try:
            if self._connection is None:
                self._connection = _Connection(trust=await self._http.tls())
                await self._connection.connect(self._http.url, seconds=self._http.timeout)
                await self._register(self._connection, node_id)
            await _beat(self._connection)
        except BaseException as error:
            await self._drop()
            if isinstance(error, _FAILURES):
                raise _unreachable(self._http.url, error) from error
            raise
        return self._connection

    async def _register(self, connection: "_Connection", node_id: str) -> None:
        """An error binds the connection to the node all the same: the backend has no chain key."""
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
    with contextlib.suppress(TimeoutError):  # silence is no death: some answer no heartbeat
        await connection.exchange("heartbeat", {"metrics": {}}, seconds=PULSE_SECONDS)


class _Connection:
    """Questions and answers over one Socket.IO connection, one at a time."""

    def __init__(self, *, trust: Any) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust),
            trace_configs=[_no_redirects()],
            trust_env=True,
        )
        self._client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,  # the signal is ours
            logger=_wire_log,
            engineio_logger=_wire_log,
            http_session=self._session,
        )
        self._answer: asyncio.Future[tuple[str, Any]] | None = None
        self._expected: tuple[str, ...] = ()
        for name in (*itertools.chain(*_EVENTS.values()), _FAILED):
            self._client.on(name, self._hearing(name), namespace=NAMESPACE)
        self._client.on("disconnect", self._lost, namespace=NAMESPACE)

    @property
    def open(self) -> bool:
        """As far as we know: a dead one shows when it is used."""
        return bool(self._client.connected)

    async def connect(self, url: str, *, seconds: float) -> None:
        """Connect over a WebSocket alone: polling would spend the budget."""
        path = urlsplit(url).path.strip("/")
        async with asyncio.timeout(seconds):
            await self._client.connect(
                url,
                transports=["websocket"],
                namespaces=[NAMESPACE],
                socketio_path=f"{path}/socket.io".lstrip("/"),
                wait_timeout=seconds,
            )

    async def exchange(self, event: str, content: Any, *, seconds: float) -> tuple[str, Any]:
        """Emit an event and wait for what it is answered with: its name and content."""
        self._answer = asyncio.get_running_loop().create_future()
        self._expected = (*_EVENTS[event], _FAILED)
        try:
            async with asyncio.timeout(seconds):
                await self._client.emit(event, content, namespace=NAMESPACE)
                return await self._answer
        finally:
            self._answer = None

    def _hearing(self, name: str) -> Callable[..., None]:
        def hear(content: Any = None, *_more: Any) -> None:
            if self._answer is None or self._answer.done():
                return
            if name in self._expected:  # not the late answer to another question
                self._answer.set_result((name, content))

        return hear

    def _lost(self, *_reason: Any) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(_("the connection was closed")))

    async def close(self) -> None:
        """Say goodbye, if there is still somebody, and close."""
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.shutdown()
        await self._session.close()


def _no_redirects() -> aiohttp.TraceConfig:
    """A WebSocket is opened where the user said, or not at all."""

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
    """The report without the participant, whom the connection is bound to."""
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
        _("no answer came in time") if isinstance(error, TimeoutError) else str(error).rstrip(".")
    )


def _text(content: Any) -> str:
    """What an error event says; the backend isn't consistent in where."""
    if isinstance(content, dict):
        said = content.get("message") or content.get("error") or content
        return str(said)
    return str(content)
