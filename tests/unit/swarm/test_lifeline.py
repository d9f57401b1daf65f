"""Losing the swarm and coming back to it."""

import socket
from collections.abc import Iterator, Mapping, Sequence

import pytest

from app.p2p.contacts import Contacts
from app.p2p.sightings import PeerInfo
from app.settings.settings import Settings
from app.state.events import ConnectionChanged, Event
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm import lifeline
from app.swarm.lifeline import Lifeline

OWN = ("/ip4/192.168.0.2/tcp/8080/p2p/QmUs",)


class Peer:
    """The embedded peer, as far as a lifeline knows it."""

    alive = True
    answered = False
    calls = 0

    async def meet(self, addresses: Mapping[str, Sequence[str]]) -> bool:
        assert addresses
        self.calls += 1
        return self.answered


class World:
    """A lifeline, whom it knows, and what it says and does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.entry = f"/ip4/127.0.0.1/tcp/{port}/p2p/QmEntry"
        # the test's only host is this one
        monkeypatch.setattr("app.p2p.contacts.on_this_machine", lambda address, own: address in own)
        self.links = frozenset({"lo", "eth0"})
        monkeypatch.setattr(lifeline, "links_up", lambda: self.links)
        self.now = 1000.0
        monkeypatch.setattr(lifeline.time, "monotonic", lambda: self.now)
        self.peer, self.said, self.started = Peer(), list[ConnectionChanged](), 0
        store = Store(settings=Settings(), state=ContributorState())
        store.subscribe_to_events(self._hear)
        self.line = Lifeline(
            store,
            self.peer,  # type: ignore[arg-type]
            Contacts((self.entry,)),
            start_again=self.start_again,
        )
        self.there = PeerInfo(peer_id="QmEntry", address=self.entry.partition("/p2p/")[0])

    def _hear(self, event: Event, _state: ContributorState) -> None:
        assert isinstance(event, ConnectionChanged)
        self.said.append(event)

    async def start_again(self) -> None:
        self.started += 1
        self.peer.alive = True

    async def look(self, *peers: PeerInfo) -> None:
        self.line.look(peers, OWN)
        await self.line.mend(OWN)

    @property
    def lost(self) -> bool:
        return bool(self.said) and self.said[-1].reconnect_at is not None


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> World:
    return World(monkeypatch, listener.getsockname()[1])


async def test_nothing_is_done_while_somebody_is_there(world: World) -> None:
    await world.look(world.there)
    assert (world.peer.calls, world.said) == (0, [])


async def test_nobody_left_who_answers_when_called(world: World) -> None:
    world.peer.answered = True
    await world.look()
    assert (world.peer.calls, world.said) == (1, [])


async def test_the_way_back(world: World, listener: socket.socket) -> None:
    listener.close()
    await world.look()
    assert world.lost
    assert world.peer.calls == 0  # libp2p would only learn not to call there
    await world.look()
    assert len(world.said) == 1  # the next try is later
    world.now += 60
    await world.look()
    assert len(world.said) == 2
    with socket.create_server(("127.0.0.1", listener_port(world))):
        world.peer.answered = True
        world.line.hurry()
        await world.look()
    assert not world.lost
    await world.look(world.there)
    assert len(world.said) == 3


def listener_port(world: World) -> int:
    return int(world.entry.split("/")[4])


async def test_a_daemon_that_has_given_up_is_replaced_now_and_then(world: World) -> None:
    for seconds in (0, 20, 20):
        world.now += seconds
        await world.look()
    assert world.started == 1
    world.now += 3 * lifeline.RENEWAL_SECONDS
    await world.look()
    assert world.started == 2
    assert world.lost


async def test_a_dead_daemon_is_replaced(world: World) -> None:
    world.peer.alive, world.peer.answered = False, True
    await world.line.mend(OWN)
    assert world.started == 1
    assert [event.reconnect_at is None for event in world.said] == [False, True]


async def test_a_cable_out_is_noticed_although_connections_seem_to_last(world: World) -> None:
    await world.look(world.there)
    world.links = frozenset({"lo"})
    await world.look(world.there)
    assert world.lost


async def test_who_is_alone_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1)
    world.line.contacts = Contacts(())
    await world.look()
    world.links = frozenset({"lo"})
    await world.look()
    assert world.said == []


async def test_a_new_daemon_is_told_of_the_peers_on_this_machine_too(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("app.p2p.contacts.on_this_machine", lambda *_rest: True)
    await world.look(world.there)
    world.peer.alive = False
    await world.line.mend(OWN)
    assert (world.started, world.peer.calls) == (1, 1)
    assert world.lost
    world.peer.answered = True
    world.line.hurry()
    await world.line.mend(OWN)
    assert not world.lost


async def test_who_calls_us_after_a_new_start_is_the_swarm(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("app.p2p.contacts.on_this_machine", lambda *_rest: True)
    world.peer.alive = False
    await world.line.mend(OWN)
    assert world.lost
    world.line.hurry()
    await world.look(world.there)
    assert not world.lost
