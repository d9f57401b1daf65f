"""The account's use cases, and the states that front ends are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.backend.errors import UnreachableError
from app.backend.node import NodeData
from app.backend.reporting import Reporting, node_of, reporting_at_start
from app.common.errors import BusyError
from app.common.paths import Folders
from app.contributions.ledger import Ledger, LedgerThread
from app.contributions.recorder import Recorder
from app.settings.settings import Settings
from app.state.facts import ReportingState, ReportingStatus
from app.state.state import ContributorState, OwnTraining
from app.state.store import Store
from tests.support.backend.reporting import EMAIL, PASSWORD, contribution, until
from tests.support.backend.server import Fault, SmallBackend


class Reported(Reporting):
    """Reporting, and how it goes."""

    @property
    def state(self) -> ReportingState:
        return self._store.state.reporting


@asynccontextmanager
async def reporting(
    url: str, folder: Path, states: list[ReportingState], *, plain_http: bool = False
) -> AsyncIterator[tuple[Reported, LedgerThread]]:
    settings = Settings(backend_url=url, backend_plain_http=plain_http)
    state = ContributorState(
        addresses=("/ip4/192.0.2.1/tcp/8080",), reporting=reporting_at_start(settings)
    )
    store = Store(settings=settings, state=state)
    store.subscribe(lambda state: states.append(state.reporting))
    contributions = Recorder(store, folders=Folders.under(folder))
    await contributions.open()
    ours = Reported(store, folders=Folders.under(folder), contributions=contributions)
    try:
        yield ours, contributions.ledger
    finally:
        await ours.close()
        await ours.close()
        await contributions.close()


async def test_from_the_first_sign_in_to_the_sign_out(server: SmallBackend, tmp_path: Path) -> None:
    states: list[ReportingState] = []
    async with reporting(server.url, tmp_path, states) as (ours, ledger):
        await ledger.run(Ledger.add, contribution())
        await ours.open()
        assert ours.state.status is ReportingStatus.OFF
        await ours.register(EMAIL, password=PASSWORD)
        await until(lambda: ours.state.status is ReportingStatus.ON)
        assert ours.state.signed_in_as == EMAIL
        await ledger.run(Ledger.add, contribution())
        await until(lambda: len(server.rows) == 2)
        await ours.sign_out()
        await until(lambda: ours.state.status is ReportingStatus.OFF)
        assert ours.state.signed_in_as == ""
    assert states[-1] == ours.state
    (node,) = server.nodes.values()
    assert node["address"] == "/ip4/192.0.2.1/tcp/8080"


async def test_what_was_refused_is_tried_again(server: SmallBackend, tmp_path: Path) -> None:
    refusal = {"statusCode": 400, "message": ["sessionId must be known"]}
    server.quirk = False
    server.faults.append(Fault(route="submit", status=400, body=refusal))
    async with reporting(server.url, tmp_path, []) as (ours, ledger):
        await ledger.run(Ledger.add, contribution())
        await ours.open()
        changes = asyncio.Semaphore(0)
        ledger.subscribe(changes.release)
        await ours.register(EMAIL, password=PASSWORD)
        for _ in ("is being sent", "was refused"):
            await changes.acquire()
        assert await ledger.run(Ledger.refusals) == {
            "the backend refused: sessionId must be known.": 1
        }
        await ours.retry()
        await until(lambda: len(server.rows) == 1)


async def test_the_sign_in_is_taken_up_by_the_next_run(
    server: SmallBackend, tmp_path: Path
) -> None:
    async with reporting(server.url, tmp_path, []) as (ours, _):
        await ours.open()
        await ours.register(EMAIL, password=PASSWORD)
    states: list[ReportingState] = []
    async with reporting(server.url, tmp_path, states) as (ours, ledger):
        await ledger.run(Ledger.add, contribution())
        await ours.open()
        await until(lambda: len(server.rows) == 1)
        await until(lambda: ours.state.signed_in_as == EMAIL)


async def test_the_default_address_without_a_backend(tmp_path: Path) -> None:
    """A volunteer without an account sees that reporting is off, and why it can't be on."""
    default = "http://backend.invalid:3001"
    async with reporting(default, tmp_path, [], plain_http=True) as (ours, _):
        await ours.open()
        assert ours.state.status is ReportingStatus.OFF
        with pytest.raises(UnreachableError) as raised:
            await ours.sign_in(EMAIL, password=PASSWORD)
        assert raised.value.field == "backend_url"
        assert ours.state.status is ReportingStatus.OFF


async def test_before_it_is_open(tmp_path: Path) -> None:
    async with reporting("http://backend.invalid", tmp_path, []) as (ours, _):
        with pytest.raises(BusyError):
            await ours.sign_in(EMAIL, password=PASSWORD)
        with pytest.raises(BusyError):
            await ours.sessions(page=1, limit=10, search="")


async def test_what_can_be_trained_needs_no_sign_in(server: SmallBackend, tmp_path: Path) -> None:
    server.sessions = [{"id": "a", "title": "A model", "status": "running"}]
    async with reporting(server.url, tmp_path, []) as (ours, _):
        await ours.open()
        assert (await ours.sessions(page=1, limit=10, search="model")).data[0].id == "a"


async def test_the_loop_goes_on_while_it_opens(server: SmallBackend, tmp_path: Path) -> None:
    """Its libraries are imported off the loop's thread."""
    async with reporting(server.url, tmp_path, []) as (ours, _):
        opening = asyncio.create_task(ours.open())
        await asyncio.sleep(0)
        assert not opening.done()
        await opening


def test_what_the_backend_is_told_of_this_machine() -> None:
    state = ContributorState(
        addresses=("/ip4/192.0.2.1/tcp/8080/p2p/Qm",),
        training=OwnTraining(device="cpu", samples_per_second=81.5),
    )
    current = contribution(started_at=0.0, ended_at=40.0, data_transmitted=1000.0)
    told = node_of(state, current=current, public_key="a key")
    assert told.document() == {
        "address": "/ip4/192.0.2.1/tcp/8080/p2p/Qm",
        "publicKey": "a key",
        "computeCapacity": 81.5,
        "bandwidth": 25.0,
    }


def test_the_backend_is_told_an_address_that_others_can_dial() -> None:
    state = ContributorState(
        peer_id="Qm",
        addresses=("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.7/tcp/1", "/ip4/8.8.8.8/tcp/1"),
    )
    told = node_of(state, current=None, public_key="a key")
    assert told.address == "/ip4/8.8.8.8/tcp/1/p2p/Qm"
    told = node_of(state, current=None, public_key="a key", announced=["10.0.0.7"])
    assert told.address == "/ip4/10.0.0.7/tcp/1/p2p/Qm"


def test_a_machine_that_rests_tells_no_more_than_it_knows() -> None:
    told = node_of(ContributorState(), current=None, public_key="a key")
    assert told == NodeData(public_key="a key")
