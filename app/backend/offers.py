"""The swarms that the CoTrain backend offers, page by page. Asking needs no account."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.common.errors import InviteError, UserFacingError
from app.common.i18n import _

if TYPE_CHECKING:
    from app.backend.replies import SessionPage, TrainingSession
    from app.spec.schema import SwarmSpec

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
    """What the backend at ``url`` offers. ask: fetches a page of its sessions, see
    `Reporting.sessions`: all that we ask of it goes through one client, which counts."""

    def __init__(self, url: str, *, ask: "Callable[..., Awaitable[SessionPage]]") -> None:
        self.url = url
        self._ask = ask

    async def page(self, number: int = 1, *, search: str = "") -> OfferPage:
        """One page of what the backend offers. Raises `BackendError`."""
        found = await self._ask(page=number, limit=PAGE, search=search)
        offers = await asyncio.to_thread(lambda: tuple(map(offer_of, found.data)))
        return OfferPage(
            offers=offers, page=found.page, pages=max(1, found.total_pages), total=found.total
        )


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
    from app.spec import invite

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
