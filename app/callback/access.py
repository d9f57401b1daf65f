"""Decides who may call, before a request reaches a route.

Any web page in the volunteer's browser can send requests to 127.0.0.1. With DNS rebinding, where a
name of the page's own resolves to 127.0.0.1, the browser even takes them for requests to the page's
server. So the ``Host`` and ``Origin`` headers are checked first, and every call that could change
something needs a token, which no page can guess.
"""

import asyncio
import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.callback.tokens import ApiTokens, Role
from app.common.addresses import is_loopback
from app.common.rate_limit import RateLimit
from app.settings.settings import Settings

MAX_BODY_BYTES = 256 * 1024
"""Largest body of a request. A spec has 64 KiB at most."""

READS_PER_SECOND = 100
CHANGES_PER_SECOND = 5
"""Calls of each caller, on average: of each address and, there, of each role. More than a friendly
caller needs, and little enough to leave the processor to the trainer: a read takes about 0.6 ms of
it."""

PATIENCE_SECONDS = 1.0
"""How long a read above `READS_PER_SECOND` is held back at most before it is answered."""

READS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing. Whether a call is a change depends on its method alone."""

PAGE = "/"
PAGE_FILES = "/page/"
"""Path of the page in the browser, and how the paths of its files begin."""

OPEN_PATHS = frozenset({"/health", PAGE})
"""Paths that anybody may read: they say that the app runs, as monitoring asks, and show where to
sign in. So do the files of the page. None of them tells anything of this machine."""

SIGN_IN, SIGN_OUT = f"{PAGE_FILES}sign-in", f"{PAGE_FILES}sign-out"
"""Changes that need no token: they take one, or the cookie that stands for it."""

_OUR_SITES = frozenset({"none", "same-origin"})
"""Values of ``Sec-Fetch-Site``: typed in by the user, or asked for by our own page."""

ROLE = "cotrain.role"
"""Key in the ASGI scope at which `Guard` leaves the caller's role for `Audited`."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The answer to a request that is refused."""

    status: int
    """HTTP status."""

    detail: str
    """Why, in words."""

    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. The request's body is not read."""
        response = JSONResponse({"detail": self.detail}, self.status, self.headers)
        await response(scope, receive, send)


def caller_of(scope: Scope) -> str:
    """The caller's IP address, as the socket tells it; no header can change it."""
    return str(scope["client"][0]) if scope.get("client") else "127.0.0.1"


class Gate:
    """Refuses requests by their host name, their origin, their size and their number.

    tokens: callers who have one don't share their number of calls with those who have none.
    pages_may_read: pages of any origin may read, for example by a link.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        tokens: ApiTokens | None = None,
        pages_may_read: bool = False,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._pages_may_read = pages_may_read
        self._wide = not is_loopback(settings.callback_host)
        self._hosts = {*settings.callback_allowed_hosts}
        self._origins = {*settings.callback_origins}
        self._reads = RateLimit(
            rate=READS_PER_SECOND, burst=2 * READS_PER_SECOND, patience=PATIENCE_SECONDS
        )
        self._changes = RateLimit(rate=CHANGES_PER_SECOND, burst=10 * CHANGES_PER_SECOND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, maybe after a short wait, or refuse it."""
        refusal = self._refusal(scope) or await self._too_often(scope)
        if refusal is not None:
            await refusal.send(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        checks: tuple[Callable[[Scope, Headers], Refusal | None], ...] = (
            self._wrong_host,
            self._foreign_page,
            _too_large,
        )
        return next((refusal for check in checks if (refusal := check(scope, headers))), None)

    def _wrong_host(self, _scope: Scope, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        if name is not None and (
            is_loopback(name) or name in self._hosts or self._is_safe_address(name)
        ):
            return None
        return Refusal(
            status=421,
            detail="This host name is not allowed. Call 127.0.0.1, or add the name to"
            " callback_allowed_hosts.",
        )

    def _is_safe_address(self, name: str) -> bool:
        """Whether this is a literal IP address while we listen beyond loopback.

        DNS rebinding needs a name, so an address in ``Host`` is safe.
        """
        if not self._wide:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _foreign_page(self, scope: Scope, headers: Headers) -> Refusal | None:
        if self._pages_may_read and scope["method"] in READS:
            return None
        origin = headers.get("origin")
        if origin is not None:
            foreign = origin.lower() not in {*self._origins, _own_origin(scope, headers)}
        else:
            foreign = headers.get("sec-fetch-site", "none") not in _OUR_SITES
        if not foreign or _is_visit(scope, headers):
            return None
        return Refusal(
            status=403, detail="This origin is not allowed. Add it to callback_origins if it is."
        )

    async def _too_often(self, scope: Scope) -> Refusal | None:
        limit = self._reads if scope["method"] in READS else self._changes
        wait = limit.take(self._payer(scope))
        if wait > 0:  # a refusal waits too: a caller that repeats at once must not cost more
            await asyncio.sleep(min(wait, PATIENCE_SECONDS))
        if wait <= limit.patience:
            return None
        return Refusal(
            status=429,
            detail="Too many requests.",
            headers={"Retry-After": str(math.ceil(wait))},
        )

    def _payer(self, scope: Scope) -> str:
        """Who the call is counted for: on loopback all callers have the same address."""
        role = role_in(scope, Headers(scope=scope), self._tokens) if self._tokens else None
        return f"{caller_of(scope)} {role or Role.ANYBODY}"


class Guard:
    """Refuses requests without the token that they need, and changes that are not JSON.

    reads_are_open: no token is needed to read. within: how the paths begin that it guards, besides
    the page's files; it lets all others pass.
    """

    def __init__(
        self, app: ASGIApp, *, tokens: ApiTokens, reads_are_open: bool, within: str = ""
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._within = within
        self._reads_are_open = reads_are_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if self._guards(scope) else None
        if refusal is not None:
            await refusal.send(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _guards(self, scope: Scope) -> bool:
        path: str = scope.get("path", "")
        return scope["type"] == "http" and path.startswith((self._within, PAGE_FILES))

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        role = role_in(scope, headers, self._tokens)
        if role is None:
            return _unknown("This token is not, or no longer, valid.")
        scope[ROLE] = role
        changes, path = scope["method"] not in READS, scope["path"]
        if changes and path in (SIGN_IN, SIGN_OUT):
            return _not_json(headers) or _not_from_here(scope, headers)
        open_to_all = self._reads_are_open or path in OPEN_PATHS or path.startswith(PAGE_FILES)
        if role is Role.ANYBODY and (changes or not open_to_all):
            return _unknown("A token is needed: send it as 'Authorization: Bearer …'.")
        if role is Role.VIEWER and changes:
            return Refusal(status=403, detail="A viewer may only read; use the operator's token.")
        return _not_json(headers) if changes else None


# --- who calls


def role_in(scope: Scope, headers: Headers, tokens: ApiTokens) -> Role | None:
    """The role of the token in a request, or that of a browser that has signed in on the page; None
    if the token isn't valid."""
    given = headers.getlist("authorization")
    if not given:
        from_here = _not_from_here(scope, headers) is None
        return tokens.sign_ins.role_of(secret_in(headers)) if from_here else Role.ANYBODY
    kind, _, token = given[0].partition(" ")
    if len(given) > 1 or kind.lower() != "bearer":
        return None
    return tokens.role_of(token.strip())


def may_still_read(scope: Scope, tokens: ApiTokens, *, reads_are_open: bool) -> bool:
    """Whether whoever reads an answer that doesn't end may go on: his token may have been renewed
    since, or he may have signed out."""
    role = role_in(scope, Headers(scope=scope), tokens)
    return reads_are_open or role in (Role.VIEWER, Role.OPERATOR)


def cookie_name(headers: Headers) -> str:
    """The name of the page's cookie. The port of ``Host`` is in it, since a browser has the same
    cookies for all ports of a host: for several of our apps there, for example by tunnels."""
    port = urlsplit(f"//{headers['host']}").port
    return f"cotrain-{port or 'page'}"


def secret_in(headers: Headers) -> str:
    """The secret in the page's cookie; "" without one."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(cookie_name(headers), "")


def _own_origin(scope: Scope, headers: Headers) -> str:
    return f"{scope['scheme']}://{headers['host']}".lower()


def _not_from_here(scope: Scope, headers: Headers) -> Refusal | None:
    """Refuse what our own page hasn't sent, whatever cookies come along.

    A browser tells the origin with every change. It sends cookies with ``SameSite=Strict`` also for
    pages of other servers on the same host.
    """
    origin = headers.get("origin")
    if origin is not None:
        ours = origin.lower() == _own_origin(scope, headers)
    else:
        ours = scope["method"] in READS and headers.get("sec-fetch-site", "none") in _OUR_SITES
    if ours:
        return None
    return Refusal(status=403, detail="Only the app's own page may do this.")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the page, which tells nothing of this machine by itself,
    from elsewhere. A frame or a script isn't one."""
    return (
        scope["method"] == "GET"
        and scope["path"] == PAGE
        and "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _unknown(detail: str) -> Refusal:
    return Refusal(status=401, detail=detail, headers={"WWW-Authenticate": "Bearer"})


def _host_name(header: str) -> str | None:
    """The name in a ``Host`` header, without port and brackets; None if the header is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises ValueError if it is no number
    except ValueError:
        return None
    return parts.hostname if parts.netloc == header and "@" not in header else None


def _too_large(_scope: Scope, headers: Headers) -> Refusal | None:
    """Refuse by ``Content-Length``. Bodies without it are counted while they are read."""
    said = headers.get("content-length", "0")
    if said.isascii() and said.isdigit() and int(said[:20]) <= MAX_BODY_BYTES:
        return None
    return Refusal(status=413, detail=f"The body is larger than {MAX_BODY_BYTES} bytes.")


def _not_json(headers: Headers) -> Refusal | None:
    """Refuse forms and plain text, which a page may send to other sites without a preflight.

    The type of an empty body doesn't matter: axios labels it as a form.
    """
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or empty:
        return None
    return Refusal(status=415, detail="The body must be application/json.")
