"""Lists the swarms that the CoTrain backend offers, page by page. This needs no sign-in."""

import asyncio
import itertools
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.backend.errors import RefusedError
from app.common.errors import InviteError, UserFacingError
from app.common.i18n import _
from app.contributions.accounting import Contribution

if TYPE_CHECKING:
    from app.backend.client import Backend
    from app.backend.replies import SessionPage, TrainingSession
    from app.spec.schema import SwarmSpec

PAGE = 10
"""Offers on a page. The backend allows 100 requests in 15 minutes."""

MOST_WANTS = 20
"""Requirements of an offer that are shown."""

LISTED_AGAIN_SECONDS = 3600.0
"""How long a session that isn't listed isn't asked for again: each look takes several requests."""

LISTED_PAGE, MOST_LISTED_PAGES = 50, 10
"""Sessions on a page, and pages, that are looked through for a session."""

OPEN = frozenset({"pending", "running", "paused"})
"""States of a session that can be joined."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A session of the backend, as a swarm to join."""

    title: str
    description: str

    status: str
    """In the backend's words."""

    wants: dict[str, str]
    """The hardware that the session asks for, in its own words, by the backend's names."""

    spec: "SwarmSpec | None"
    """What the session trains; None if it can't be joined."""

    problem: UserFacingError | None
    """Why it can't be joined; None if it can."""


@dataclass(frozen=True, kw_only=True)
class OfferPage:
    """One page of the offers."""

    offers: tuple[Offer, ...]

    page: int
    """Counted from 1."""

    pages: int
    """How many pages there are, at least 1."""

    total: int
    """Offers on all pages."""


class Offers:
    """The offers of the backend at ``url``.

    ask: fetches a page of sessions: `Reporting.sessions`, because all requests to the backend must
    go through the one client that keeps the budget.
    """

    def __init__(self, url: str, *, ask: "Callable[..., Awaitable[SessionPage]]") -> None:
        self.url = url
        self._ask = ask

    async def page(self, number: int = 1, *, search: str = "") -> OfferPage:
        """One page of the offers. number: counted from 1. Raises `BackendError`."""
        found = await self._ask(page=number, limit=PAGE, search=search)
        sessions = found.data[:PAGE]  # whatever the backend sends
        offers = await asyncio.to_thread(lambda: tuple(map(offer_of, sessions)))
        return OfferPage(
            offers=offers, page=found.page, pages=max(1, found.total_pages), total=found.total
        )


class Listing:
    """Tells whether the backend lists a session for a run.

    An invite may say that its run is any session; whoever wrote it would have what volunteers
    compute for his run counted for somebody else's session. clock: monotonic seconds.
    """

    def __init__(self, backend: "Backend", *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._listed: set[tuple[int | None, str]] = set()
        self._missed_at: dict[tuple[int | None, str], float] = {}

    async def has(self, contribution: Contribution) -> bool:
        """Whether the contribution's session is listed for its run. Raises `BackendError`.

        A no is remembered for `LISTED_AGAIN_SECONDS`.
        """
        claim, now = (contribution.session_id, contribution.run_id), self._clock()
        if claim in self._listed:
            return True
        if now - self._missed_at.get(claim, -math.inf) < LISTED_AGAIN_SECONDS:
            return False
        if await self._finds(contribution):
            self._listed.add(claim)
        else:
            self._missed_at[claim] = now
        return claim in self._listed

    def ask_again(self) -> None:
        """Remember no longer which sessions were not listed."""
        self._missed_at.clear()

    async def _finds(self, contribution: Contribution) -> bool:
        if contribution.training_id:
            try:
                session = await self._backend.session(contribution.training_id)
            except RefusedError:  # no such session
                pass
            else:
                if _is_of(contribution, session):
                    return True
        for number in range(1, MOST_LISTED_PAGES + 1):
            page = await self._backend.sessions(page=number, limit=LISTED_PAGE)
            if any(_is_of(contribution, session) for session in page.data):
                return True
            if not page.data or number >= page.total_pages:
                break
        return False


def _is_of(contribution: Contribution, session: "TrainingSession") -> bool:
    run_id = (session.configuration or {}).get("run_id")
    return (session.number, run_id) == (contribution.session_id, contribution.run_id)


def offer_of(session: "TrainingSession") -> Offer:
    """The offer that a session is: with its validated spec, or with what is wrong with it."""
    spec, problem = _spec_of(session)
    wants = itertools.islice((session.requirements or {}).items(), MOST_WANTS)
    return Offer(
        title=_line(session.title),
        description=_line(session.description or ""),
        status=_line(session.status),
        wants={_line(key): _line(value) for key, value in wants},
        spec=spec,
        problem=problem,
    )


def _spec_of(session: "TrainingSession") -> "tuple[SwarmSpec | None, UserFacingError | None]":
    from app.spec import invite

    if session.status not in OPEN:
        return None, UserFacingError(_("it is over."))
    if not session.configuration:
        return None, UserFacingError(_("it doesn't say yet what it trains."))
    facts = {
        "title": _line(session.title),
        "training_id": session.id,
        "session_id": session.number,
    }
    if session.configuration.get("organiser"):
        del facts["title"]  # it is signed
    said = {name: value for name, value in session.configuration.items() if value not in (None, "")}
    try:
        content = json.dumps({**session.configuration, **facts, **said}).encode()
        return invite.read(content, name="configuration"), None
    except InviteError as error:
        return None, error
    except RecursionError:
        return None, UserFacingError(_("its configuration is nested too deeply."))


def _line(value: Any) -> str:
    """A foreign text as one line of at most 200 printable characters."""
    text = str(value)[:200]
    return "".join(each if each.isprintable() else " " for each in text).strip()
