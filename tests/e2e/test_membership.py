"""Entering and leaving a swarm with the embedded peer in this very process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest.mock import AsyncMock

import psutil
import pytest

from app.common.errors import JoinError
from app.common.paths import Folders
from app.p2p.peer import load_hivemind
from app.settings.settings import Settings
from app.spec import schema as spec
from app.state.events import Event, JoinBegan, Joined
from app.state.state import ContributorState, Phase
from app.state.store import Store
from app.swarm.membership import Membership
from app.swarm.organisation import Organisation
from app.swarm.recents import Recents
from tests.support.processes.apps import PATIENCE, tiny_spec

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("patient_calls"),
    # hivemind's own streams to a daemon that is gone
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Member:
    """A membership, and the state that its events lead to."""

    def __init__(self, folder: Path) -> None:
        folders = Folders.under(folder)
        folders.create()
        self.store = Store(settings=Settings.model_construct(), state=ContributorState())
        self.store.subscribe_to_events(self._note)
        self.began, self.joined = asyncio.Event(), asyncio.Event()
        self.membership = Membership(
            self.store,
            folders=folders,
            recents=Recents(folders.recents_file),
            organisation=Organisation(self.store, folders=folders),
            before_leaving=AsyncMock(),
        )

    @property
    def state(self) -> ContributorState:
        return self.store.state

    async def until(self, condition: Callable[[ContributorState], bool]) -> None:
        reached = asyncio.Event()
        watching = self.store.subscribe(lambda state: reached.set() if condition(state) else None)
        if not condition(self.state):
            await asyncio.wait_for(reached.wait(), PATIENCE)
        watching.close()

    def _note(self, event: Event, _state: ContributorState) -> None:
        if isinstance(event, JoinBegan):
            self.began.set()
        if isinstance(event, Joined):
            self.joined.set()


@pytest.fixture
async def member(tmp_path: Path) -> AsyncIterator[Member]:
    await load_hivemind()
    member = Member(tmp_path / "member")
    yield member
    await member.membership.leave()


async def test_a_founder_returns_by_whom_it_saw(member: Member, tmp_path: Path) -> None:
    """Its own spec names nobody, and the other one can't know its new address."""
    founded = spec.parse(tiny_spec())
    assert await member.membership.join(founded)
    other = Member(tmp_path / "other")
    entered = founded.model_copy(update={"initial_peers": member.state.addresses})
    try:
        assert await other.membership.join(entered)
        await member.until(lambda state: bool(state.peers))
        await member.membership.leave()
        assert await member.membership.join(founded)
        await member.until(lambda state: bool(state.peers))
        assert other.state.peer_id in {peer.peer_id for peer in member.state.peers}
    finally:
        await other.membership.leave()
    await member.membership.leave()
    assert await member.membership.join(founded)  # with nobody there, it is founded again
    assert member.state.phase is Phase.WATCHING


def daemons() -> list[psutil.Process]:
    """The p2pd that are children of this process and live."""
    return [
        child
        for child in psutil.Process().children()
        if child.name() == "p2pd" and child.status() != psutil.STATUS_ZOMBIE
    ]


async def test_join_and_leave(member: Member) -> None:
    assert await member.membership.join(spec.parse(tiny_spec()))
    assert member.state.phase is Phase.WATCHING
    assert member.state.addresses[0].startswith("/ip4/127.0.0.1/tcp/")
    assert len(daemons()) == 1
    await member.membership.leave()
    assert member.state.phase is Phase.DISCONNECTED
    assert daemons() == []


async def test_no_reachable_peer_names_the_field_and_can_be_tried_again(member: Member) -> None:
    nobody = "/ip4/127.0.0.1/tcp/1/p2p/QmRhUyK4sFg28hoPevQWc4PuQmvbhXe1P9X3KZ1bfT3enX"
    with pytest.raises(JoinError) as caught:
        await member.membership.join(spec.parse(tiny_spec(initial_peers=[nobody])))
    assert caught.value.field == "initial_peers"
    assert caught.value.remedy
    assert member.state.phase is Phase.DISCONNECTED
    assert member.state.problem is not None
    assert daemons() == []
    assert await member.membership.join(spec.parse(tiny_spec()))


async def test_leaving_while_joining_leaves_nothing(member: Member) -> None:
    joining = asyncio.create_task(member.membership.join(spec.parse(tiny_spec())))
    await member.began.wait()
    # a process tells nobody that it was born
    while not daemons() and not joining.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    await member.membership.leave()
    assert not await asyncio.wait_for(joining, PATIENCE)
    assert member.state.phase is Phase.DISCONNECTED
    async with asyncio.timeout(PATIENCE):
        while daemons():  # noqa: ASYNC110  as above
            await asyncio.sleep(0.02)


async def test_it_comes_back_when_its_daemon_was_killed(member: Member) -> None:
    await member.membership.join(spec.parse(tiny_spec()))
    before = daemons()
    member.joined.clear()
    before[0].kill()
    await asyncio.wait_for(member.joined.wait(), PATIENCE)
    assert len(daemons()) == 1
    assert daemons() != before
