"""Builds the ASGI application: the routes, errors as JSON, and the middleware around them."""

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from app import __version__
from app.callback.access import MAX_BODY_BYTES, Gate, Guard, may_still_read
from app.callback.audited import Audited, Refusals, note_task
from app.callback.docs import page_of
from app.callback.events import Events
from app.callback.host import Host, Sources
from app.callback.metrics import Metrics
from app.callback.node import Node
from app.callback.page.files import PageFiles
from app.callback.page.routes import PageParts, Steering, page_router
from app.callback.page.snapshot import snapshot
from app.callback.page.stream import PageStream
from app.callback.routes import Parts, router_of
from app.callback.tokens import ApiTokens
from app.common.addresses import is_loopback
from app.common.errors import BusyError, ConnectError, ConsentError, SpecError, UserFacingError
from app.common.logs import AuditLog
from app.settings.settings import Settings
from app.state.state import ContributorState
from app.tasks.tasks import Tasks

DESCRIPTION = (
    "What programs on this machine may ask of CoTrain Contributor. Calls that change something"
    " need the operator's token. Each change of the state is also sent as server-sent events:"
    " GET /api/v1/hivemind/events."
)

_STATUSES: tuple[tuple[type[UserFacingError], int], ...] = (
    (SpecError, 422),
    (BusyError, 409),
    (ConsentError, 409),
    (ConnectError, 502),
)


def build(
    host: Host,
    *,
    tasks: Tasks,
    tokens: ApiTokens,
    audit: AuditLog,
    sources: Sources,
    closing: asyncio.Event,
) -> FastAPI:
    """The application that answers the callers of one session."""
    node = Node(
        host.store,
        swarm=host.swarm,
        recents=host.recents,
        way_back=host.way_back,
        tasks=tasks,
        identity_file=host.folders.identity_file("trainer"),
        closing=closing,
    )
    refusals = Refusals()
    parts = Parts(
        node=node,
        tasks=tasks,
        events=Events(host.store, node=node, tasks=tasks, closing=closing),
        metrics=Metrics(host.store, tasks=tasks, figures=sources.figures),
        sources=sources,
        refusals=refusals,
        may_read=lambda request: may_still_read(
            request.scope, tokens, reads_are_open=is_loopback(host.store.settings.callback_host)
        ),
    )
    api = FastAPI(
        title="CoTrain Contributor",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(host.store.settings, tokens=tokens, audit=audit, refusals=refusals),
    )
    api.include_router(router_of(parts))
    api.include_router(page_router(_page_of(host, parts, tokens=tokens, closing=closing)))
    say_errors(api)
    _describe(api)
    return api


def _page_of(host: Host, parts: Parts, *, tokens: ApiTokens, closing: asyncio.Event) -> PageParts:
    """What the page in the browser needs."""
    machines = parts.sources.machines

    def tell(state: ContributorState) -> dict[str, Any]:
        return snapshot(state, alias=machines.own_alias if machines else "", steered=True)

    stream = PageStream(host.store, history=host.history, tell=tell, closing=closing)
    return PageParts(
        files=PageFiles(),
        tokens=tokens,
        stream=stream,
        history=host.history,
        sources=parts.sources,
        reads_are_open=is_loopback(host.store.settings.callback_host),
        steering=Steering(node=parts.node, training=host.training),
    )


def _middleware(
    settings: Settings, *, tokens: ApiTokens, audit: AuditLog, refusals: Refusals
) -> list[Middleware]:
    """The middleware, the outermost first."""
    return [
        Middleware(Audited, audit=audit, refusals=refusals),
        Middleware(Gate, settings=settings, tokens=tokens),
        Middleware(
            CORSMiddleware,
            allow_origins=settings.callback_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            allow_private_network=True,
        ),
        Middleware(Guard, tokens=tokens, reads_are_open=is_loopback(settings.callback_host)),
        Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
    ]


# --- errors


def say_errors(api: FastAPI) -> None:
    """Answer errors as JSON, each with its status."""
    api.add_exception_handler(HTTPException, _on_http_error)
    api.add_exception_handler(RequestValidationError, _on_wrong_body)
    api.add_exception_handler(UserFacingError, _on_user_error)
    api.add_exception_handler(Exception, _on_defect)


def _failure(status: int, detail: str, errors: list[dict[str, str]] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail} | ({"errors": errors} if errors else {}), status)


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _on_wrong_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return _failure(400, "The body is no valid JSON.")
    errors = [
        {"field": _field(each["loc"]), "message": each["msg"].removeprefix("Value error, ")}
        for each in found
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    note_task(request.scope, error.body)
    return _failure(422, detail, errors)


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


async def _on_user_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserFacingError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if isinstance(error, ConnectError) and error.field:  # the request is wrong, not the peer
        status = 422
    found = (getattr(error, "all", ()) or (error,)) if status == 422 else (error,)
    named = [
        {"field": each.field, "message": each.message, "remedy": each.remedy} for each in found
    ]
    detail = " ".join(each.text for each in found)
    return _failure(status, detail, named if status == 422 else None)


async def _on_defect(_request: Request, _error: Exception) -> JSONResponse:
    # uvicorn logs the error
    return _failure(500, "Something went wrong in the app; its log says more.")


# --- the description


def _describe(api: FastAPI) -> None:
    """Make ``/openapi.json`` say which calls need a token, and add ``/docs`` to read it."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            _add_security(made())
        assert api.openapi_schema is not None
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page_of(openapi()), headers=headers)


def _add_security(schema: dict[str, Any]) -> None:
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["operator"] = {"type": "http", "scheme": "bearer"}
    for path in schema["paths"].values():
        for method, operation in path.items():
            if method == "post":
                operation["security"] = [{"operator": []}]
