"""Writes down what callers change, and whatever is refused to them, each with its reason.

The CoTrain backend's proxy hides our reasons from whoever called it. So they are also kept for
``GET /errors``, where a caller finds them by the id of the task or by the time.
"""

import json
import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.callback.access import READS, ROLE, caller_of
from app.callback.tokens import Role
from app.common.logs import AuditLog, redact
from app.common.plain import one_line
from app.common.rate_limit import RateLimit

log = logging.getLogger(__name__)

MOST_KEPT, MOST_READS_KEPT = 200, 50
"""Refused changes and reads that are kept; the oldest are dropped. A page that asks again and again
must not push the changes out."""

MOST_REASON_BYTES = 16 * 1024
"""How much of a refusal's body is read for its reason."""

MOST_REASON_CHARACTERS = 2000

_TASK = "cotrain.task"
"""Key in the ASGI scope at which a route leaves the caller's id of a task."""


@dataclass(frozen=True, kw_only=True)
class RefusedCall:
    """A call that was refused or has failed."""

    time: datetime
    """In UTC."""

    call: str
    """Method and path."""

    status: int
    """HTTP status."""

    reason: str

    task_id: str
    """The caller's own id of the task; "" where none was sent or it wasn't read."""


class Refusals:
    """The last refused calls of this run of the app."""

    def __init__(self) -> None:
        self._changes: deque[RefusedCall] = deque(maxlen=MOST_KEPT)
        self._reads: deque[RefusedCall] = deque(maxlen=MOST_READS_KEPT)

    def add(self, call: RefusedCall, *, reads: bool = False) -> None:
        """Keep one more. reads: the call would have changed nothing."""
        (self._reads if reads else self._changes).append(call)

    def find(
        self, *, task_id: str | None = None, since: datetime | None = None
    ) -> list[RefusedCall]:
        """The kept ones, the newest first: of a task, or since a time, or all."""
        newest_first = sorted(
            (*self._changes, *self._reads), key=lambda call: call.time, reverse=True
        )
        return [
            each
            for each in newest_first
            if task_id in (None, each.task_id) and (since is None or each.time >= since)
        ]


def note_task(scope: Scope, body: Any) -> None:
    """Leave a request's task id for `Audited`. body: the request's, whatever it is."""
    task_id = body.get("task_id") if isinstance(body, dict) else None
    if isinstance(task_id, str):
        scope[_TASK] = task_id[:200]


class Audited:
    """Writes each call that changes something, or tries to, to the audit log with its outcome, and
    each call that is refused also to the app's log and to ``refusals``.

    Of refused calls, only a few a second are written and the others counted, so that nobody can
    push the other lines out of the file.

    within: how the paths begin that are looked at.
    """

    def __init__(
        self, app: ASGIApp, *, audit: AuditLog, refusals: Refusals, within: str = ""
    ) -> None:
        self._app = app
        self._within = within
        self._audit = audit
        self._kept = refusals
        self._limits = {False: RateLimit(rate=5, burst=50), True: RateLimit(rate=1, burst=20)}
        self._unwritten = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and write down its status."""
        if scope["type"] != "http" or not scope["path"].startswith(self._within):
            await self._app(scope, receive, send)
            return
        reads = scope["method"] in READS
        status, said = 0 if reads else 500, bytearray()  # if nobody answers

        async def listen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400 and len(said) < MOST_REASON_BYTES:
                said.extend(message.get("body", b"")[:MOST_REASON_BYTES])
            await send(message)

        try:
            await self._app(scope, receive, listen)
        finally:
            if status >= 400:
                self._refused(scope, status, _reason(bytes(said)), reads=reads)
            elif not reads:
                self._write(scope, status)

    def _refused(self, scope: Scope, status: int, reason: str, *, reads: bool) -> None:
        if self._limits[reads].take("anybody") > 0:
            self._unwritten += 1
            return
        call, task_id = _call(scope), scope.get(_TASK, "")
        self._write(scope, status, reason=reason, task_id=task_id)
        log.warning("refused %s with %d: %s", call, status, reason)
        self._kept.add(
            RefusedCall(
                time=datetime.now(UTC), call=call, status=status, reason=reason, task_id=task_id
            ),
            reads=reads,
        )

    def _write(self, scope: Scope, status: int, **more: str) -> None:
        headers = Headers(scope=scope)
        self._audit.write(
            _call(scope),
            caller=caller_of(scope),
            role=scope.get(ROLE, Role.ANYBODY).value,
            host=headers.get("host", "")[:200],
            origin=headers.get("origin", "")[:200],
            status=status,
            outcome="allowed" if status < 400 else "refused",
            unwritten_before=self._unwritten,
            **more,
        )
        self._unwritten = 0


def _call(scope: Scope) -> str:
    return one_line(f"{scope['method']} {scope['path'][:200]}")


def _reason(body: bytes) -> str:
    """What an answer says in ``detail``, on one line; the beginning of any other answer."""
    try:
        found = json.loads(body)
        text = found["detail"]
    except (ValueError, LookupError, TypeError, RecursionError):
        text = body[:MOST_REASON_CHARACTERS].decode(errors="replace")
    return redact(one_line(str(text), most=MOST_REASON_CHARACTERS))
