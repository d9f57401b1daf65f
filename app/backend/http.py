"""Sends requests to the backend within the budget, and decodes the answers or raises an error.

A backend may be hostile, or broken, so each answer has a limit of bytes and a limit of time.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from app import __version__
from app.backend.budget import Budget
from app.backend.errors import (
    BackendError,
    UncertainError,
    UnencryptedError,
    UnreachableError,
    WrongAnswerError,
)
from app.backend.failures import failure_of, pause_of, problem_of
from app.backend.replies import BadRowError, Counted, RowReader
from app.common.addresses import is_loopback, is_private
from app.common.i18n import _

PREFIX = "/api/v1"

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Largest answer, decompressed. A page of ten sessions with specs of 64 KiB each fits."""

MAX_ERROR_BYTES = 64 * 1024
"""How much is read of an answer that is no success."""

MAX_ROWS_BYTES = 1024**3
"""Largest read-back. It is parsed as it arrives; ten years of contributions fit."""

BLOCK_BYTES = 64 * 1024
"""How much of a read-back is parsed at once."""

BIG_BYTES = 128 * 1024
"""Larger answers are decoded in a thread."""

TIMEOUTS_OF_REPLY, TIMEOUTS_OF_ROWS = 4, 30
"""How long a request may take from its beginning to the end of its answer, in time-outs without any
data: a server that sends a byte now and then never reaches one of these."""

KEEP_SECONDS = 2.0
"""How long an idle connection is kept. A Node.js server closes it after 5 s, and of a request sent
at that moment nobody could say whether it was counted."""

CONNECT_SECONDS = 10.0
"""Longest time to make a connection."""

UNACKNOWLEDGED_SECONDS = 60.0
"""How long the kernel goes on sending what the backend's machine doesn't acknowledge. Linux's own
limit for a process that was killed is about 100 s, longer than we wait for a report to settle."""

T = TypeVar("T")


class Http:
    """The connections to one backend.

    url: without `PREFIX`. timeout: seconds without any data after which a request fails.
    plain_http: send passwords and tokens also where others on the network can read them.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        budget: Budget | None = None,
        plain_http: bool = False,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.budget = budget or Budget()
        self._keeps_secrets = plain_http or is_private(url)
        self._client: httpx2.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections. May be called twice; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def uses_proxies(self) -> bool:
        """Whether the environment's proxies are used. For loopback they would be a way out of this
        machine: a proxy could read what nobody else could."""
        return not is_loopback(urlsplit(self.url).hostname or "")

    async def tls(self) -> ssl.SSLContext:
        """The certificates to trust: the system's, or none if the URL isn't https.

        They are read in a thread at the first call.
        """
        async with self._opening:
            if self._tls is None:
                make = _system_trust if self.url.startswith("https:") else _no_trust
                self._tls = await asyncio.to_thread(make)
            return self._tls

    async def ask(
        self,
        request: str,
        *,
        shape: type[T],
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
        token: str = "",
        once: bool = False,
        reserved: bool = True,
    ) -> T:
        """Send a request such as ``"GET /training"``, and decode its answer as ``shape``.

        once: a second request would count twice, so `UncertainError` is raised if this one may
        have had its effect. reserved: see `Budget.take`.

        Raises `BackendError`.
        """
        if body is not None:  # a password, or what only goes with a token
            self._check_encrypted()
        answer = _Whole()
        seconds = self.timeout * TIMEOUTS_OF_REPLY
        parts = {"json": body, "params": query, "headers": self._headers(token)}
        try:
            async with asyncio.timeout(seconds):
                await self._send(request, answer, once=once, reserved=reserved, parts=parts)
        except TimeoutError as error:
            raise _too_slow(seconds, once=once) from error
        return await _decoded(bytes(answer.content), shape, once=once)

    async def read_rows(
        self,
        path: str,
        *,
        token: str,
        take: Callable[[list[Counted]], None],
        reserved: bool = True,
    ) -> None:
        """Get a JSON array of contributions that the backend has counted, and parse it piece by
        piece: it may be larger than an answer that is kept whole.

        take: called in a thread with the next rows, again and again. What it was given counts only
        if this call returns. reserved: see `Budget.take`.

        Raises `BackendError`.
        """
        answer = _Rows(take)
        seconds = self.timeout * TIMEOUTS_OF_ROWS
        parts = {"headers": self._headers(token)}
        try:
            async with asyncio.timeout(seconds):
                await self._send(f"GET {path}", answer, once=False, reserved=reserved, parts=parts)
                await asyncio.to_thread(answer.end)
        except TimeoutError as error:
            raise _too_slow(seconds, once=False) from error
        except BadRowError as error:
            raise _not_understood(error, once=False) from error

    async def _send(
        self,
        request: str,
        answer: "_Whole | _Rows",
        *,
        once: bool,
        reserved: bool,
        parts: dict[str, Any],
    ) -> None:
        """Send a request, and give a successful answer's content to ``answer``."""
        client = await self._opened()
        self.budget.take(reserved=reserved)
        method, path = request.split(" ", 1)
        problem: BackendError | None = None
        try:
            async with client.stream(
                method, path, extensions={"trace": _on_connection_event}, **parts
            ) as response:
                self._note_limits(response)
                _check_encoding(response)
                if response.is_success:
                    async for piece in response.aiter_bytes():
                        await answer.add(piece)
                else:
                    content = await _beginning(response)
                    problem = problem_of(response, content, once=once)
        except httpx2.RequestError as error:
            raise failure_of(error, url=self.url, once=once) from error
        if problem is not None:
            raise problem

    def _headers(self, token: str) -> dict[str, str]:
        if not token:
            return {}
        self._check_encrypted()
        return {"Authorization": f"Bearer {token}"}

    def _check_encrypted(self) -> None:
        if not self._keeps_secrets:
            text = _("{url} is not encrypted, so neither a password nor a sign-in is sent there.")
            raise UnencryptedError(
                text.format(url=self.url),
                field="backend_url",
                remedy=_(
                    "Use an https address or, if you trust everybody on the way, set"
                    " backend_plain_http."
                ),
            )

    async def _opened(self) -> httpx2.AsyncClient:
        tls = await self.tls()
        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self.url + PREFIX,
                verify=tls,
                timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout)),
                limits=httpx2.Limits(max_connections=4, keepalive_expiry=KEEP_SECONDS),
                headers={
                    "User-Agent": f"cotrain-contributor/{__version__}",
                    "Accept-Encoding": "gzip",
                },
                follow_redirects=False,  # another host must not get the token
                trust_env=self.uses_proxies,
            )
        return self._client

    def _note_limits(self, response: httpx2.Response) -> None:
        """Pause if the backend has refused this request as one too many, or would the next."""
        spent = response.headers.get("X-RateLimit-Remaining") == "0"
        if spent or response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            self.budget.be_silent(pause_of(response))


def _system_trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _no_trust() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def give_up_early(connection: socket.socket) -> None:
    """Let the kernel stop sending after `UNACKNOWLEDGED_SECONDS`, also after this process's end.

    On Linux only; other systems have no such option.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(UNACKNOWLEDGED_SECONDS * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


async def _on_connection_event(name: str, details: Mapping[str, Any]) -> None:
    """Called by httpx2. An option of its transport would do without the environment's proxies."""
    if name == "connection.connect_tcp.complete":
        give_up_early(details["return_value"].get_extra_info("socket"))


# --- answers -------------------------------------------------------------------------------------


class _Whole:
    """An answer that is kept in memory."""

    def __init__(self) -> None:
        self.content = bytearray()

    async def add(self, piece: bytes) -> None:
        self.content += piece
        if len(self.content) > MAX_REPLY_BYTES:
            raise httpx2.DecodingError(_("it is too long"))


class _Rows:
    """An answer that is parsed block by block, in a thread."""

    def __init__(self, take: Callable[[list[Counted]], None]) -> None:
        self._reader = RowReader()
        self._take = take
        self._block = bytearray()
        self._size = 0

    async def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_ROWS_BYTES:
            raise httpx2.DecodingError(_("it is too long"))
        self._block += piece
        if len(self._block) >= BLOCK_BYTES:
            await asyncio.to_thread(self._parse)

    def _parse(self) -> None:
        block, self._block = self._block, bytearray()
        self._take(self._reader.feed(bytes(block)))

    def end(self) -> None:
        """Parse the rest. Raises `BadRowError` when the array isn't complete."""
        self._parse()
        self._reader.end()


def _check_encoding(response: httpx2.Response) -> None:
    """Refuse an answer that is compressed otherwise than we have asked for: several compressions
    on top of each other could keep the loop busy for long."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise httpx2.DecodingError(_("it is compressed in a way that was not asked for"))


async def _beginning(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_ERROR_BYTES:
            break
    return bytes(content)


async def _decoded(content: bytes, shape: type[T], *, once: bool) -> T:
    try:
        if len(content) > BIG_BYTES:
            return await asyncio.to_thread(_decode, content, shape)
        return _decode(content, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        page = content.lstrip().startswith(b"<")
        reason = _("it is a web page") if page else error
        raise _not_understood(reason, once=once) from error


def _decode(content: bytes, shape: type[T]) -> T:
    return msgspec.json.decode(content, type=shape, strict=False)


def _not_understood(reason: object, *, once: bool) -> BackendError:
    # The request has succeeded, so a report may have been counted although we can't read it.
    return (UncertainError if once else WrongAnswerError)(
        _("the backend's answer can't be understood: {reason}.").format(reason=reason),
        field="backend_url",
        remedy=_("Check the backend's address, and whether your network wants a sign-in."),
    )


def _too_slow(seconds: float, *, once: bool) -> BackendError:
    return (UncertainError if once else UnreachableError)(
        _("the backend's answer took longer than {seconds:.0f} s.").format(seconds=seconds),
        field="backend_url",
        remedy=_("Check your network and the backend's address."),
    )
