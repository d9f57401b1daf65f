"""What the backend offers, over real HTTP."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.backend.account import Account
from app.backend.client import Backend
from app.backend.errors import (
    BackendError,
    RateLimitedError,
    UnreachableError,
    WrongAnswerError,
)
from app.backend.http import Http
from app.backend.offers import PAGE, Offers, offer_of
from app.backend.replies import TrainingSession
from app.backend.secret_store import SecretStore
from app.spec.invite import as_file
from app.spec.schema import parse
from app.spec.signing import signed
from tests.support.backend.server import Fault, SmallBackend
from tests.support.organiser.organisers import organiser
from tests.support.training.specs import PEER, SMALLEST


def session(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-0000-0000-{number:012}",
        "title": f"Run {number}",
        "description": "Poems",
        "status": "running",
        "requirements": {"minGPU": "8 GB", "minRAM": 16},
        "configuration": {**SMALLEST, "initial_peers": [PEER]},
    } | changes


@pytest.fixture
def backend() -> Iterator[SmallBackend]:
    with SmallBackend() as made:
        made.sessions = []
        yield made


@asynccontextmanager
async def offers_at(url: str, folder: Path) -> AsyncIterator[Offers]:
    http = Http(url)
    client = Backend(http, account=Account(http, store=SecretStore(folder / "account.json")))
    yield Offers(url, ask=client.sessions)
    await http.close()


@pytest.fixture
async def offers(backend: SmallBackend, tmp_path: Path) -> AsyncIterator[Offers]:
    async with offers_at(backend.url, tmp_path) as made:
        yield made


async def test_pages_are_turned(backend: SmallBackend, offers: Offers) -> None:
    backend.sessions = [session(number) for number in range(2 * PAGE + 1)]
    first, last = await offers.page(), await offers.page(3)
    assert (first.total, first.pages, len(first.offers)) == (2 * PAGE + 1, 3, PAGE)
    assert [offer.title for offer in last.offers] == [f"Run {2 * PAGE}"]


async def test_search_is_the_backends(backend: SmallBackend, offers: Offers) -> None:
    backend.sessions = [session(1, title="Poems"), session(2, title="Songs")]
    assert [offer.title for offer in (await offers.page(search="song")).offers] == ["Songs"]


async def test_nothing_is_a_page_too(offers: Offers) -> None:
    found = await offers.page()
    assert (found.offers, found.total, found.pages) == ((), 0, 1)


async def test_offer_carries_its_spec(backend: SmallBackend, offers: Offers) -> None:
    backend.sessions = [session(7)]
    (offer,) = (await offers.page()).offers
    assert offer.problem is None
    assert offer.spec is not None
    assert (offer.spec.title, offer.spec.initial_peers) == ("Run 7", (PEER,))
    assert offer.spec.training_id == session(7)["id"]
    assert offer.wants == {"minGPU": "8 GB", "minRAM": "16"}


def our_invite(**changes: Any) -> dict[str, Any]:
    """What an earlier version of this app has exported, with all that it doesn't know."""
    unknown = {"session_id": None, "training_id": None, "title": ""}
    return {**SMALLEST, "initial_peers": [PEER], **unknown} | changes


async def test_the_session_fills_what_its_spec_leaves_open(
    backend: SmallBackend, offers: Offers
) -> None:
    backend.sessions = [session(7, configuration=our_invite(), sessionId=12)]
    (offer,) = (await offers.page()).offers
    assert offer.spec is not None
    assert (offer.spec.title, offer.spec.session_id) == ("Run 7", 12)
    assert offer.spec.training_id == session(7)["id"]


async def test_a_signed_spec_gets_numbers_and_no_title(
    backend: SmallBackend, offers: Offers
) -> None:
    ours = signed(parse(our_invite()), organiser(), name="Ada", closed=False)
    backend.sessions = [session(7, configuration=json.loads(as_file(ours)), sessionId=12)]
    (offer,) = (await offers.page()).offers
    assert offer.spec is not None
    assert (offer.spec.title, offer.spec.session_id) == ("", 12)
    assert parse(offer.spec.to_json()) == offer.spec  # as it is remembered


async def test_what_the_spec_says_stands(backend: SmallBackend, offers: Offers) -> None:
    said = our_invite(session_id=3, title="Ours")
    backend.sessions = [session(7, configuration=said, sessionId=12)]
    (offer,) = (await offers.page()).offers
    assert offer.spec is not None
    assert (offer.spec.title, offer.spec.session_id) == ("Ours", 3)


@pytest.mark.parametrize("odd", ["7", 7.0, True, [7], {"a": 1}])
async def test_a_number_of_another_kind_is_none(
    backend: SmallBackend, offers: Offers, odd: Any
) -> None:
    backend.sessions = [session(7, configuration=our_invite(), sessionId=odd)]
    (offer,) = (await offers.page()).offers
    assert offer.spec is not None
    assert offer.spec.session_id is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"configuration": None}, "doesn't say yet"),
        ({"configuration": {}}, "doesn't say yet"),
        ({"configuration": {"learning_rate": 1}}, "run_id"),
        ({"configuration": {**SMALLEST, "version": 2}}, "version 2"),
        ({"configuration": {**SMALLEST, "colour": "red"}}, "colour"),
        ({"configuration": {**SMALLEST, "title": "x" * 70_000}}, "too large"),
        ({"status": "completed"}, "over"),
        ({"status": "cancelled"}, "over"),
    ],
)
async def test_what_cannot_be_joined_says_why(
    backend: SmallBackend, offers: Offers, change: dict[str, Any], told: str
) -> None:
    backend.sessions = [session(1, **change), session(2)]
    wrong, right = (await offers.page()).offers
    assert wrong.spec is None
    assert wrong.problem is not None
    assert told in wrong.problem.text
    assert right.spec is not None


async def test_texts_of_others_are_one_bounded_line(backend: SmallBackend, offers: Offers) -> None:
    backend.sessions = [session(1, title="two\nlines\u202e", description="x" * 10_000)]
    (offer,) = (await offers.page()).offers
    assert offer.title == "two lines"
    assert len(offer.description) == 200
    assert offer.spec is not None
    assert offer.spec.title == "two lines"


async def test_a_hostile_page_is_bounded(backend: SmallBackend, offers: Offers) -> None:
    nested: Any = {}
    for _level in range(400):
        nested = {"a": nested}
    wants = {f"{number}" + "x" * 500: "y" * 500 for number in range(500)}
    sessions = [session(number, configuration=nested) for number in range(4 * PAGE)]
    sessions[0]["requirements"] = wants
    page = {"data": sessions, "total": 40, "page": 1, "limit": 10, "totalPages": 4}
    backend.faults.append(Fault(route="trainings", status=200, body=page))
    found = await offers.page()
    assert len(found.offers) == PAGE
    assert all(offer.problem is not None for offer in found.offers)
    assert len(str(found.offers[0].wants)) < 20 * 500


def test_a_configuration_that_is_nested_too_deeply_is_a_problem() -> None:
    nested: Any = {}
    for _level in range(sys.getrecursionlimit()):
        nested = {"a": nested}
    offer = offer_of(TrainingSession(id="1", title="t", status="running", configuration=nested))
    assert "nested" in str(offer.problem)


@pytest.mark.parametrize("total", [-1, 10**12, 10**30])
async def test_an_absurd_number_of_pages_is_refused(
    backend: SmallBackend, offers: Offers, total: int
) -> None:
    page = {"data": [], "total": 0, "page": 1, "limit": 10, "totalPages": total}
    backend.faults.append(Fault(route="trainings", status=200, body=page))
    with pytest.raises(WrongAnswerError):
        await offers.page()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 429, "headers": {"Retry-After": "60"}}, RateLimitedError),
        ({"status": 500, "body": {"statusCode": 500, "message": "oh"}}, UnreachableError),
        ({"html": True}, WrongAnswerError),
        ({"cut": True}, UnreachableError),
    ],
)
async def test_failure_is_told_and_the_next_call_may_work(
    backend: SmallBackend, offers: Offers, fault: dict[str, Any], error: type[BackendError]
) -> None:
    backend.faults = [Fault(route="trainings", **fault)]
    with pytest.raises(error) as caught:
        await offers.page()
    assert caught.value.message
    if error is not RateLimitedError:
        assert (await offers.page()).total == 0


async def test_after_too_many_requests_none_is_sent(backend: SmallBackend, offers: Offers) -> None:
    backend.faults = [Fault(route="trainings", status=429, headers={"Retry-After": "60"})]
    for _ in range(2):
        with pytest.raises(RateLimitedError):
            await offers.page()
    assert len(backend.requests) == 1


async def test_backend_that_is_away_is_said(tmp_path: Path) -> None:
    async with offers_at("http://127.0.0.1:1", tmp_path) as offers:
        with pytest.raises(UnreachableError) as caught:
            await offers.page()
    assert caught.value.remedy
