"""The swarms that the CoTrain backend offers, page by page. Asking needs no account."""

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import InviteError, UserFacingError
from app.i18n import _

if TYPE_CHECKING:
    from app.backend.http import Http
    from app.backend.replies import TrainingSession
    from app.spec import SwarmSpec

PAGE = 10
"""Offers asked for at a time; the backend counts requests, 100 in a quarter of an hour."""

OPEN = frozenset({"pending", "running", "paused"})
"""What a session can still be joined in."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A session of the backend. spec: what it trains, None where it can't be joined from here,
    and problem says why. wants: hardware in its own words, by the backend's names."""

    title: str
    description: str
    status: str
    wants: dict[str, str]
    spec: "SwarmSpec | None"
    problem: UserFacingError | None


@dataclass(frozen=True, kw_only=True)
class OfferPage:
    """One page of the offers, counted from 1."""

    offers: tuple[Offer, ...]
    page: int
    pages: int
    total: int


class Offers:
    """Asks one backend. url: without its prefix. Nothing is sent before somebody asks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http: Http | None = None

    async def page(self, number: int = 1, *, search: str = "") -> OfferPage:
        """One page of what the backend offers. Raises `BackendError`."""
        await asyncio.to_thread(_load_libraries)
        from app.backend.http import Http
        from app.backend.replies import SessionPage

        self._http = self._http or Http(self.url)
        query: dict[str, Any] = {"page": number, "limit": PAGE}
        query |= {"search": search} if search else {}
        found = await self._http.ask(
            "GET /training", shape=SessionPage, query=query, reserved=False
        )
        offers = await asyncio.to_thread(lambda: tuple(map(offer_of, found.data)))
        return OfferPage(
            offers=offers, page=found.page, pages=max(1, found.total_pages), total=found.total
        )

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._http is not None:
            await self._http.close()


def offer_of(session: "TrainingSession") -> Offer:
    """A session as one can choose it: its spec validated whole, or what is wrong with it."""
    spec, problem = _spec_of(session)
    return Offer(
        title=_line(session.title),
        description=_line(session.description or ""),
        status=_line(session.status),
        wants={str(key): _line(value) for key, value in (session.requirements or {}).items()},
        spec=spec,
        problem=problem,
    )


def _spec_of(session: "TrainingSession") -> "tuple[SwarmSpec | None, UserFacingError | None]":
    from app import invite

    if session.status not in OPEN:
        return None, UserFacingError(_("it is over."))
    if not session.configuration:
        return None, UserFacingError(_("it doesn't say yet what it trains."))
    known = {"title": _line(session.title), "training_id": session.id}
    content = json.dumps({**known, **session.configuration}).encode()
    try:
        return invite.read(content, name="configuration"), None
    except InviteError as error:
        return None, error


def _line(value: Any) -> str:
    """A text of somebody else's, on one line and of bounded length."""
    return "".join(each if each.isprintable() else " " for each in str(value))[:200].strip()


def _load_libraries() -> None:
    """Some hundred milliseconds, off the loop's thread."""
    import app.backend.http
    import app.backend.replies  # noqa: F401
