"""The HTTP interface of a swarm's door: read-only, and open to everybody who reaches it.

It needs no token: every peer of the swarm can read the same from the swarm itself. Calling a peer
costs something, so that is rate-limited. What the page in the browser shows beyond that, such as
addresses and the log, needs the door's tokens.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import JSONResponse

from app import __version__
from app.callback.access import MAX_BODY_BYTES, PAGE_FILES, Gate, Guard, caller_of
from app.callback.api import say_errors
from app.callback.audited import Audited, Refusals
from app.callback.metrics import Metrics
from app.callback.page.routes import DATA, PageParts, page_router
from app.callback.schemas import Health
from app.common.errors import BusyError, ConnectError
from app.common.logs import AuditLog
from app.common.rate_limit import RateLimit
from app.p2p.prober import Reachability
from app.spec import invite
from app.spec.schema import SwarmSpec
from app.state.store import ReadableStore

PROBES_PER_SECOND, MOST_PROBES_AT_ONCE = 0.2, 5
"""Per caller: a peer asks when it has started, and again when its network has changed."""


Invitation = Callable[[], SwarmSpec]
ReachabilityProbe = Callable[[str], Awaitable[Reachability]]


class ReachabilityReply(BaseModel):
    """Whether a peer can be reached from here, in the form of Petals' reachability API."""

    success: bool
    message: str


def build(
    store: ReadableStore,
    *,
    invitation: Invitation,
    probe: ReachabilityProbe,
    page: PageParts,
    audit: AuditLog,
) -> FastAPI:
    """The application that answers the door's callers.

    invitation: makes the spec by which others enter. probe: calls a peer, by its id; raises
    `BusyError` or `ConnectError`. audit: who has signed in on the page, or tried to.
    """
    settings, tokens = store.settings, page.tokens
    api = FastAPI(
        title="CoTrain: the door of a swarm",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Audited, audit=audit, refusals=Refusals(), within=PAGE_FILES),
            Middleware(Gate, settings=settings, tokens=tokens, pages_may_read=True),
            Middleware(Guard, tokens=tokens, reads_are_open=page.reads_are_open, within=DATA),
            Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
        ],
    )
    say_errors(api)
    api.include_router(page_router(page))
    _add_health(api, store)
    _add_spec(api, invitation)
    _add_reachability(api, probe)
    api.add_exception_handler(Exception, _on_defect)
    return api


def _add_health(api: FastAPI, store: ReadableStore) -> None:
    metrics = Metrics(store)

    @api.get("/health")
    async def health() -> Health:
        """Whether the door is online."""
        return Health()

    @api.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """The swarm's figures in Prometheus's text format."""
        return Response(await metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _add_spec(api: FastAPI, invitation: Invitation) -> None:
    @api.get("/spec", response_class=Response)
    async def spec() -> Response:
        """The invite, as a file that the app opens."""
        made = invitation()
        name = f'attachment; filename="{made.run_id}{invite.SUFFIX}"'
        return Response(
            invite.as_file(made),
            media_type="application/json",
            headers={"Content-Disposition": name, "X-Content-Type-Options": "nosniff"},
        )


def _add_reachability(api: FastAPI, probe: ReachabilityProbe) -> None:
    limit = RateLimit(rate=PROBES_PER_SECOND, burst=MOST_PROBES_AT_ONCE)

    @api.get("/is_reachable/{peer_id}")
    @api.get("/api/v1/is_reachable/{peer_id}")
    async def is_reachable(peer_id: str, request: Request) -> ReachabilityReply:
        """Call a peer of the swarm, and tell whether it answers."""
        wait = limit.take(caller_of(request.scope))
        if wait > 0:
            raise HTTPException(429, "Too many requests.", {"Retry-After": str(math.ceil(wait))})
        try:
            found = await probe(peer_id)
        except ConnectError as error:
            raise HTTPException(422 if error.field else 503, error.text) from error
        except BusyError as error:
            raise HTTPException(503, error.text) from error
        return ReachabilityReply(success=found.success, message=found.message)


async def _on_defect(_request: Request, _error: Any) -> JSONResponse:
    return JSONResponse({"detail": "Something went wrong at the door; its log says more."}, 500)
