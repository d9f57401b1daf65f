"""Sends requests to the backend within the budget, and decodes the answers or raises an error."""

import asyncio
import ssl
from typing import Any, TypeVar

import httpx2
import msgspec

from app import __version__
from app.backend.budget import Budget
from app.backend.errors import UncertainError, WrongAnswerError
from app.backend.failures import failure_of, pause_of, problem_of
from app.common.i18n import _

PREFIX = "/api/v1"

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Largest answer. All counted contributions of a node come in one; a quarter of a year fits."""

BIG_BYTES = 128 * 1024
"""Larger answers are decoded in a thread."""

KEEP_SECONDS = 2.0
"""How long an idle connection is kept. A Node.js server closes it after 5 s, and of a request sent
at that moment nobody could say whether it was counted."""

CONNECT_SECONDS = 10.0
"""Longest time to make a connection."""

T = TypeVar("T")


class Http:
    """The connections to one backend.

    url: without `PREFIX`. timeout: seconds without any data after which a request fails.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, budget: Budget | None = None) -> None:
        self.url = url
        self.timeout = timeout
        self.budget = budget or Budget()
        self._client: httpx2.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections. May be called twice; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

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
        client = await self._opened()
        self.budget.take(reserved=reserved)
        method, path = request.split(" ", 1)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with client.stream(
                method, path, json=body, params=query, headers=headers
            ) as response:
                self._note_limits(response)
                content = await _read(response)
        except httpx2.RequestError as error:
            raise failure_of(error, url=self.url, once=once) from error
        if not response.is_success:
            raise problem_of(response, content, once=once)
        return await _decoded(content, shape, once=once)

    async def _opened(self) -> httpx2.AsyncClient:
        tls = await self.tls()
        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self.url + PREFIX,
                verify=tls,
                timeout=httpx2.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout)),
                limits=httpx2.Limits(max_connections=4, keepalive_expiry=KEEP_SECONDS),
                headers={"User-Agent": f"cotrain-contributor/{__version__}"},
                follow_redirects=False,  # another host must not get the token
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


async def _read(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_REPLY_BYTES:
            raise httpx2.DecodingError(_("it is too long"))
    return bytes(content)


async def _decoded(content: bytes, shape: type[T], *, once: bool) -> T:
    try:
        if len(content) > BIG_BYTES:
            return await asyncio.to_thread(_decode, content, shape)
        return _decode(content, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The request has succeeded, so a report may have been counted although we can't read it.
        page = content.lstrip().startswith(b"<")
        raise (UncertainError if once else WrongAnswerError)(
            _("the backend's answer can't be understood: {reason}.").format(
                reason=_("it is a web page") if page else error
            ),
            field="backend_url",
            remedy=_("Check the backend's address, and whether your network wants a sign-in."),
        ) from error


def _decode(content: bytes, shape: type[T]) -> T:
    return msgspec.json.decode(content, type=shape, strict=False)
