"""Turns a failed exchange into a `BackendError`: an answer that is no success, or no answer."""

import asyncio
import contextlib
import math
import re
import socket
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from app.backend.budget import MAX_PAUSE_SECONDS, WINDOW_SECONDS
from app.backend.errors import (
    BackendError,
    NotSignedInError,
    RateLimitedError,
    RefusedError,
    UncertainError,
    UnreachableError,
    WrongAnswerError,
    shown,
)
from app.common.i18n import _

Cause = TypeVar("Cause", bound=BaseException)

COMPOSE_HOST = "backend"
"""The backend's name within its compose network: the default, which nobody has at home."""

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""Failures before the request was sent: the backend can't have seen it."""

_VALIDATION = re.compile(r"(?:property |each value in )?[\w.]+ (?:must|should) .+", re.DOTALL)
"""What NestJS's validation says of a field, before anything is done with the body."""

_BEFORE_COUNTING = frozenset({401, 403, 405, 411, 413, 414, 415, 431})
"""Statuses that a server's guards and limits give, before a report reaches what counts it."""


# --- an answer that is no success ----------------------------------------------------------------


def problem_of(response: httpx2.Response, content: bytes, *, once: bool) -> BackendError:
    """The error that an answer stands for. once: see `Http.ask`."""
    status, texts = response.status_code, _texts(content)
    said = shown("; ".join(texts) or f"{status} {response.reason_phrase}".rstrip())
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        return _limited(pause_of(response))
    if status >= 500:  # the backend may have counted a report before it failed
        kind = UncertainError if once else UnreachableError
        return kind(_("the backend is in trouble: {said}.").format(said=said))
    if response.has_redirect_location:
        return _redirect(response)
    if once and not _rules_out_counting(status, texts, content):
        return UncertainError(
            _("the backend refused, and maybe counted it all the same: {said}.").format(said=said)
        )
    if not texts or _has_no_route(status, texts):
        return WrongAnswerError(
            _("what answers there isn't the backend: {said}.").format(said=said),
            field="backend_url",
            remedy=_("Check the backend's address, and whether your network wants a sign-in."),
        )
    if status == httpx2.codes.UNAUTHORIZED:
        return NotSignedInError(
            _("the backend doesn't accept the sign-in: {said}.").format(said=said),
            remedy=_("Sign in again."),
        )
    return RefusedError(
        _("the backend refused: {said}.").format(said=said), status=status, texts=texts
    )


def _rules_out_counting(status: int, texts: list[str], content: bytes) -> bool:
    """Whether a refusal proves that the report wasn't counted.

    The real backend answers 400 "Failed to submit contribution: …" to whatever fails, also after it
    has counted.
    """
    if status in _BEFORE_COUNTING:
        return True
    if status == httpx2.codes.NOT_FOUND:
        return not texts or _has_no_route(status, texts)
    validated = bool(texts) and all(map(_VALIDATION.fullmatch, texts))
    return status in (400, 422) and validated and isinstance(_message(content), list)


def _limited(seconds: float) -> RateLimitedError:
    return RateLimitedError(
        _("the backend wants no requests for {seconds:.0f} s.").format(seconds=seconds),
        seconds=seconds,
    )


def _redirect(response: httpx2.Response) -> WrongAnswerError:
    target = shown(response.headers["Location"])
    return WrongAnswerError(
        _("the backend's address leads elsewhere, to {target}.").format(target=target),
        field="backend_url",
        remedy=_("If you trust that address, set it as the backend's."),
    )


def _has_no_route(status: int, texts: list[str]) -> bool:
    """Whether the server doesn't know the path; NestJS and Express say "Cannot GET /…"."""
    return status == httpx2.codes.NOT_FOUND and texts[0].startswith("Cannot ")


def _texts(content: bytes) -> list[str]:
    """The texts in an error reply's ``message``; empty if the reply isn't the backend's."""
    said = _message(content)
    texts = said if isinstance(said, list) else [said]
    return [text for text in texts if isinstance(text, str) and text]


def _message(content: bytes) -> object:
    try:
        reply = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reply.get("message") if isinstance(reply, dict) else None


# --- how long to pause ---------------------------------------------------------------------------


def pause_of(response: httpx2.Response) -> float:
    """Seconds until the backend wants the next request, by the headers of its answer.

    A point in time is compared with the answer's own ``Date``, so this works with a wrong clock.
    """
    headers = response.headers
    seconds = _after(headers.get("Retry-After", ""), response)
    if seconds is None:
        seconds = _after(headers.get("X-RateLimit-Reset", ""), response)
    if seconds is None:
        seconds = WINDOW_SECONDS
    return min(max(seconds, 1.0), MAX_PAUSE_SECONDS)


def _after(text: str, response: httpx2.Response) -> float | None:
    """Seconds from now, by a header's text; None if it can't be read.

    The text is a number of seconds, a time in seconds since the epoch, or an HTTP date.
    """
    with contextlib.suppress(ValueError, OverflowError):
        number = float(text)
        if math.isnan(number):
            return None
        return number if number < 1e9 else _since(number, response)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return _since(parsedate_to_datetime(text).timestamp(), response)
    return None


def _since(moment: float, response: httpx2.Response) -> float:
    now = datetime.now().astimezone().timestamp()
    with contextlib.suppress(KeyError, ValueError, TypeError):
        now = parsedate_to_datetime(response.headers["Date"]).timestamp()
    return moment - now


# --- no answer -----------------------------------------------------------------------------------


def failure_of(error: httpx2.RequestError, *, url: str, once: bool) -> BackendError:
    """The error that a request without an answer stands for. once: see `Http.ask`."""
    certificate = _cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return _untrusted(certificate, url=url)
    reason = _reason(error)
    if once and not isinstance(error, _NOT_SENT):
        return UncertainError(_("the answer was lost: {reason}.").format(reason=reason))
    host = urlsplit(url).netloc
    if _cause(error, socket.gaierror) is not None and urlsplit(url).hostname == COMPOSE_HOST:
        return _no_backend()
    return UnreachableError(
        _("the backend at {host} can't be reached: {reason}.").format(host=host, reason=reason),
        field="backend_url",
        remedy=_("Check your network and the backend's address."),
    )


def _no_backend() -> UnreachableError:
    return UnreachableError(
        _("no CoTrain backend is set up here."),
        field="backend_url",
        remedy=_(
            "If somebody gave you its address, enter it in the settings. Without it you can"
            " open an invite, start a swarm of your own, or try the demo."
        ),
    )


async def check_default(url: str) -> None:
    """Raises `UnreachableError` where a backend's address is the default, and leads nowhere."""
    if urlsplit(url).hostname != COMPOSE_HOST:
        return
    try:
        await asyncio.get_running_loop().getaddrinfo(COMPOSE_HOST, None)
    except socket.gaierror:
        raise _no_backend() from None


def _reason(error: httpx2.RequestError) -> str:
    """In words for what people meet most; else in the library's."""
    if _cause(error, socket.gaierror) is not None:
        return _("no computer of this name is known")
    if _cause(error, ConnectionRefusedError) is not None:
        return _("nothing answers there")
    return shown(error).rstrip(".") or type(error).__name__


def _untrusted(error: ssl.SSLCertVerificationError, *, url: str) -> UnreachableError:
    return UnreachableError(
        _("the certificate of {host} can't be trusted: {reason}.").format(
            host=urlsplit(url).netloc, reason=shown(error.verify_message or error)
        ),
        field="backend_url",
        remedy=_("Check the address, this computer's clock, and what your network intercepts."),
    )


def _cause(error: BaseException | None, kind: type[Cause]) -> Cause | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
