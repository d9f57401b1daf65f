"""The organiser of our swarm: trust on first use, rosters exchanged on real nodes."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.common.errors import OrganiserError, RosterError
from app.common.paths import Folders
from app.organiser import admission as admissions
from app.organiser.files import OrganiserFiles
from app.organiser.known import Standing
from app.p2p.network import Network, listening
from app.p2p.peer import EmbeddedPeer
from app.settings.settings import Settings
from app.spec import schema
from app.spec.schema import SwarmSpec
from app.spec.signing import signed
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm import organisation as organisations
from app.swarm.organisation import Organisation
from tests.support.organiser.organisers import PLAIN, organiser
from tests.support.training.specs import SMALLEST

pytestmark = [
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OPEN_SPEC = schema.parse(SMALLEST)


@pytest.fixture(autouse=True)
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(organisations, "LOOK_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.p2p.calls.CALL_SECONDS", 60.0)
    monkeypatch.setattr("app.p2p.peer.CONNECT_SECONDS", 60.0)


class Machine:
    """Its part that knows the organiser, and its node."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders.under(folder)
        self.folders.create()
        self.store = Store(settings=Settings.model_construct(), state=ContributorState())
        self.organisation = Organisation(self.store, folders=self.folders)
        self.peer = EmbeddedPeer(self.folders.identity_file("app"))

    async def enter(self, spec: SwarmSpec, *entries: str) -> None:
        admission = await self.organisation.enter(spec)
        presence = await self.peer.join(
            spec.run_id,
            initial_peers=entries,
            network=Network(listen=listening(0, local=True), local=True),
            admission=admission,
        )
        self.addresses = presence.addresses

    async def look(self) -> None:
        self.organisation._look_at = 0.0
        await self.organisation.look(self.peer.node)


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path / "ada")
    yield made
    await made.peer.leave()


@pytest.fixture
async def bob(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path / "bob")
    yield made
    await made.peer.leave()


async def test_the_organiser_is_the_first_member(ada: Machine) -> None:
    spec = await ada.organisation.organise(OPEN_SPEC, name="Ada", closed=True)
    await ada.organisation.enter(spec)
    access = ada.store.state.access
    assert (access.closed, access.admitted, access.organised_here) == (True, True, True)
    assert [each.peer_id for each in access.members] == [access.code]
    key = OrganiserFiles(ada.folders.data).key
    assert key.stat().st_mode & 0o777 == 0o600
    assert (await ada.organisation.judge(spec)).standing is Standing.KNOWN


async def test_an_open_swarm_has_no_roster(ada: Machine) -> None:
    spec = await ada.organisation.organise(OPEN_SPEC, name="Ada", closed=False)
    assert not (await ada.organisation.enter(spec)).is_closed
    assert not OrganiserFiles(ada.folders.data).rosters.exists()
    assert ada.store.state.access.admitted


async def test_another_organiser_is_refused_until_the_user_trusts_them(bob: Machine) -> None:
    first = signed(OPEN_SPEC, organiser(), name="Ada", closed=True)
    other = signed(OPEN_SPEC, organiser(), name="Ada", closed=True)
    await bob.organisation.enter(first)
    for doubtful in (other, OPEN_SPEC):
        with pytest.raises(OrganiserError) as caught:
            await bob.organisation.enter(doubtful)
        assert caught.value.field == "organiser"
    await bob.organisation.trust(other)
    await bob.organisation.enter(other)


async def test_who_is_no_organiser_changes_no_members(bob: Machine) -> None:
    await bob.organisation.enter(signed(OPEN_SPEC, organiser(), name="Ada", closed=True))
    with pytest.raises(RosterError):
        await bob.organisation.add(PLAIN, "")


async def test_rosters_reach_members_that_come_and_go(
    ada: Machine, bob: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    spec = await ada.organisation.organise(OPEN_SPEC, name="Ada", closed=True)
    await ada.enter(spec)
    await ada.look()
    await bob.enter(spec, *ada.addresses)
    await bob.look()
    assert not bob.store.state.access.admitted
    code = bob.store.state.access.code

    await ada.organisation.add(code, "Bob")
    await ada.look()
    await bob.look()
    assert bob.store.state.access.admitted
    assert [each.label for each in bob.store.state.access.members] == ["Ada", "Bob"]

    await ada.organisation.remove(code)
    await ada.look()
    await bob.look()
    assert not bob.store.state.access.admitted
    again = Machine(bob.folders.data)  # after a restart, without anybody to ask
    await again.organisation.enter(spec)
    assert not again.store.state.access.admitted
    assert len(again.store.state.access.members) == 1
