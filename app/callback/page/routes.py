"""The routes of the page: its files, signing in, what it shows, and what its buttons do.

They are not in the OpenAPI description: they belong to the page, and change with it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from app.callback.access import (
    PAGE,
    PAGE_FILES,
    ROLE,
    SIGN_IN,
    SIGN_OUT,
    caller_of,
    cookie_name,
    may_still_read,
    secret_in,
)
from app.callback.host import Sources, TrainingAccess
from app.callback.node import Node
from app.callback.page import tables
from app.callback.page.files import LANGUAGE_COOKIE, PRIVATE, PageFiles, language_of
from app.callback.page.stream import PageStream
from app.callback.page.tables import MOST_ROWS, Excerpt
from app.callback.tokens import SIGN_IN_SECONDS, ApiTokens, Role
from app.common.rate_limit import RateLimit
from app.state.history import History

DATA = "/api/v1/page"
"""How the paths begin that tell something of this machine."""

TRIES_PER_SECOND, MOST_TRIES_AT_ONCE = 0.2, 10
"""Tries to sign in, of each address."""

MOST_SECONDS = 14 * 24 * 3600
"""How far the curves reach back."""

CONTRIBUTIONS = 50
"""The newest ones are shown."""


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What the buttons of the page start and stop."""

    node: Node
    training: TrainingAccess


@dataclass(frozen=True, kw_only=True)
class PageParts:
    """The objects that answer the page."""

    files: PageFiles
    tokens: ApiTokens
    stream: PageStream
    history: History
    sources: Sources
    reads_are_open: bool
    """Nobody needs a token to read."""

    steering: Steering | None = None
    """None: the page has no buttons to start and stop."""


class SignInBody(BaseModel):
    """Who signs in."""

    token: str = Field(max_length=200)


def page_router(parts: PageParts) -> APIRouter:
    """All routes of the page."""
    router = APIRouter(include_in_schema=False)
    _add_sign_in(router, parts)
    _add_files(router, parts.files)
    _add_stream(router, parts)
    _add_tables(router, parts)
    _add_log(router, parts)
    if parts.steering is not None:
        _add_buttons(router, parts.steering)
    return router


def private(content: Any) -> JSONResponse:
    """An answer that no cache keeps."""
    return JSONResponse(content, headers=PRIVATE)


# --- what a browser loads


def _add_files(router: APIRouter, files: PageFiles) -> None:
    @router.api_route(PAGE, methods=["GET", "HEAD"])
    async def page(
        request: Request, language: Annotated[str | None, Query(max_length=20)] = None
    ) -> Response:
        """The page, in the language of the link, the cookie or the browser."""
        kept = request.cookies.get(LANGUAGE_COOKIE)
        chosen = language_of(language, kept, request.headers.get("accept-language", ""))
        answer = files.page(chosen).answer(request.headers, Vary="Accept-Language, Cookie")
        if language is not None:
            answer.set_cookie(
                LANGUAGE_COOKIE, chosen, max_age=365 * 24 * 3600, samesite="strict", httponly=True
            )
        return answer

    @router.api_route(f"{PAGE_FILES}{{name}}", methods=["GET", "HEAD"])
    async def file(name: str, request: Request) -> Response:
        """A file that the page loads."""
        found = files.find(name)
        if found is None:
            raise HTTPException(404, "The page has no such file.")
        return found.answer(request.headers)


# --- signing in


def _add_sign_in(router: APIRouter, parts: PageParts) -> None:
    tries = RateLimit(rate=TRIES_PER_SECOND, burst=MOST_TRIES_AT_ONCE)
    sign_ins, sources = parts.tokens.sign_ins, parts.sources
    listed = [name for name in ("machines", "contributions", "log") if getattr(sources, name)]

    @router.get(f"{PAGE_FILES}me")
    async def me(request: Request) -> Response:
        """Who the caller is, whether they may read, and which lists there are."""
        role = request.scope[ROLE]
        may_read = parts.reads_are_open or role is not Role.ANYBODY
        return private({"role": role.value, "may_read": may_read, "lists": ["peers", *listed]})

    @router.post(SIGN_IN)
    async def sign_in(body: SignInBody, request: Request) -> Response:
        """Give the browser a cookie for a token."""
        wait = tries.take(caller_of(request.scope))
        if wait > 0:
            raise HTTPException(
                429, "Too many tries to sign in.", {"Retry-After": str(math.ceil(wait))}
            )
        role = parts.tokens.role_of(body.token.strip())
        if role is None:
            raise HTTPException(401, "This token is not, or no longer, valid.")
        request.scope[ROLE] = role  # for the audit log
        sign_ins.end(secret_in(request.headers))
        answer = private({"role": role.value})
        _set_cookie(answer, request, sign_ins.add(role), seconds=SIGN_IN_SECONDS)
        return answer

    @router.post(SIGN_OUT)
    async def sign_out(request: Request) -> Response:
        """Forget the browser, and delete its cookie."""
        sign_ins.end(secret_in(request.headers))
        answer = private({"role": Role.ANYBODY.value})
        _set_cookie(answer, request, "", seconds=0)
        return answer


def _set_cookie(answer: Response, request: Request, secret: str, *, seconds: int) -> None:
    """No script can read it, and no page of another site makes a browser send it."""
    answer.set_cookie(
        cookie_name(request.headers),
        secret,
        max_age=seconds,
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


# --- what the page shows


def _add_stream(router: APIRouter, parts: PageParts) -> None:
    async def admitted() -> AsyncIterator[None]:
        with parts.stream.place():  # until the answer's end
            yield

    @router.get(
        f"{DATA}/events", response_class=EventSourceResponse, dependencies=[Depends(admitted)]
    )
    async def events(
        request: Request, seconds: Annotated[int, Query(ge=60, le=MOST_SECONDS)] = 600
    ) -> AsyncIterable[ServerSentEvent]:
        """The state and the curves, as they change."""

        def may_read() -> bool:
            open_to_all = parts.reads_are_open
            return may_still_read(request.scope, parts.tokens, reads_are_open=open_to_all)

        async for event in parts.stream.events(seconds, may_read=may_read):
            yield event


def _excerpt(
    *,
    descending: bool = False,
    text: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> Excerpt:
    return Excerpt(descending=descending, text=text, offset=offset, limit=limit)


MachineColumn = Literal[
    "alias", "lab", "device", "state", "samples_per_second", "loss", "epoch", "gpu_use",
    "temperature", "last_seen",
]  # fmt: skip
PeerColumn = Literal["peer_id", "address", "last_seen", "latency", "connected"]


def _add_tables(router: APIRouter, parts: PageParts) -> None:
    machines, contributions = parts.sources.machines, parts.sources.contributions

    @router.get(f"{DATA}/peers")
    async def peers(
        excerpt: Annotated[Excerpt, Depends(_excerpt)], sort: PeerColumn = "last_seen"
    ) -> Response:
        """Some of the peers."""
        table = tables.peer_table(parts.history.peers, excerpt, sort=sort)
        return private(table | {"time": time.time()})

    @router.get(f"{DATA}/machines")
    async def machine_rows(
        excerpt: Annotated[Excerpt, Depends(_excerpt)], sort: MachineColumn = "alias"
    ) -> Response:
        """Some of the machines, sorted in a thread: there may be thousands."""
        if machines is None:
            raise HTTPException(404, "No machines are listed here.")
        table = await asyncio.to_thread(
            tables.machine_table, machines.known(), excerpt, sort=sort, own_key=machines.own_key
        )
        return private(table | {"time": time.time()})

    @router.get(f"{DATA}/contributions")
    async def contribution_rows() -> Response:
        """Sums, the newest contributions, and how reporting goes."""
        if contributions is None:
            raise HTTPException(404, "No contributions are listed here.")
        reporting = await contributions.reporting()
        newest = await contributions.newest(limit=CONTRIBUTIONS)
        return private(
            {
                "sums": tables.sums_of(await contributions.totals()),
                "reporting": {name: reporting[name] for name in ("status", "reason", "forgotten")},
                "rows": [tables.contribution_row(each) for each in newest],
            }
        )


def _add_log(router: APIRouter, parts: PageParts) -> None:
    @router.get(f"{DATA}/log")
    async def log(
        request: Request,
        level: Annotated[int, Query(ge=0, le=50)] = 20,
        text: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """The newest log lines, for the operator alone: they name callers, peers and files."""
        if request.scope[ROLE] is not Role.OPERATOR:
            raise HTTPException(403, "The log is for the operator.")
        if parts.sources.log is None:
            raise HTTPException(404, "There is no log here.")
        lines = parts.sources.log.lines()
        rows = await asyncio.to_thread(tables.log_rows, lines, level=level, text=text)
        return private({"rows": rows})


# --- what its buttons do, besides the calls for all


def _by_hand(request: Request) -> None:
    """Refuse programs: what they want trained is a task, about which the volunteer is asked."""
    if "authorization" in request.headers:
        raise HTTPException(403, "Only who has signed in on the page may do this.")


def _add_buttons(router: APIRouter, steering: Steering) -> None:
    training = steering.training
    does: dict[str, Callable[[], Awaitable[None]]] = {
        "train": training.start,
        "rest": training.stop,
        "pause": training.pause,
        "resume": training.resume,
    }

    @router.post(f"{DATA}/training/{{verb}}", dependencies=[Depends(_by_hand)])
    async def steer(verb: Literal["train", "rest", "pause", "resume"]) -> Response:
        """Start, stop, pause or resume training, as in the window; the swarm isn't left."""
        await steering.node.unless_closing(does[verb]())
        return private({"status": "success"})
