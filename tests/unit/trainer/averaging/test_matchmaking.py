"""Groups among real peers in one process, which meet by a list that stands for the DHT."""

import asyncio
import logging
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import pytest
from hivemind.averaging.averager import DecentralizedAverager
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.p2p import P2P, P2PContext, PeerID, ServicerBase
from hivemind.proto.averaging_pb2 import (
    BAD_GROUP_KEY,
    NOT_LOOKING_FOR_GROUP,
    JoinRequest,
    MessageFromLeader,
)
from hivemind.utils import MSGPackSerializer, get_dht_time

from app.p2p.calls import quiet_lost_connections
from app.p2p.sightings import PartFault
from app.trainer.averaging.matchmaking import GuardedMatchmaking, epoch_in, is_introduction
from app.trainer.averaging.offences import Evictions

PREFIX = "run_grad_averager"
LONG = 10_000.0
"""Seconds that no test may take: the matchmaking time, where a group must form before it ends."""

SHORT = 1.0
"""The same, where it must end."""

ANSWER_SECONDS = 60.0
LATER = 3 * LONG
"""Seconds by which a follower's matchmaking time ends after its leader's. A leader of ours adds
`LONG` to its own."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """hivemind leaves tasks behind whose connection is gone; a trainer doesn't log them either."""
    caplog.set_level(logging.CRITICAL, logger="asyncio")


def introduction(bandwidth: Any = None, mode: Any = 0, data: Any = b"\xc0") -> bytes:
    return MSGPackSerializer.dumps([bandwidth, mode, data])


class Meeting:
    """Who looks for a group, as the DHT would tell; our peers' clocks are the same."""

    def __init__(self) -> None:
        self.looking: dict[bytes, Any] = {}

    def of(self, peer_id: PeerID) -> Any:
        return SimpleNamespace(peer_id=peer_id, get=self._get, store=self._store)

    async def _get(self, _key: str, **_options: Any) -> Any:
        return SimpleNamespace(value=dict(self.looking))

    async def _store(self, *, subkey: bytes, value: bool, expiration_time: float, **_: Any) -> bool:
        self.looking[subkey] = SimpleNamespace(value=value, expiration_time=expiration_time)
        return True


class Server(ServicerBase):
    """Answers as an averager does."""

    matchmaking: Matchmaking

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return DecentralizedAverager._get_handle_name(namespace, method_name)

    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        async for reply in self.matchmaking.rpc_join_group(request, context):
            yield reply


class LyingLeader(Matchmaking):
    """Calls the others clients, so that it would average everything alone."""

    async def leader_assemble_group(self) -> GroupInfo:
        for request in self.current_followers.values():
            request.gather = introduction(mode=1)
        return await super().leader_assemble_group()


class RudeLeader(Matchmaking):
    """Tells its follower of a group without it."""

    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        async for reply in super().rpc_join_group(request, context):
            reply.ordered_peer_ids[:] = [PeerID(b"somebody").to_bytes()]
            yield reply


class DeafLeader(GuardedMatchmaking):
    """Too busy to answer whoever asks first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.was_asked = asyncio.Event()

    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        if not self.was_asked.is_set():
            self.was_asked.set()
            await asyncio.Event().wait()
        async for reply in super().rpc_join_group(request, context):
            yield reply


def step(said: bytes, *, closing: float = LONG, within: float = 4 * LATER) -> Any:
    """What a matchmaking asks of hivemind's `StepControl`, which needs an averager's process: of a
    round that is needed at once. closing: seconds until hivemind's leader closes its group."""
    now = get_dht_time()
    return SimpleNamespace(
        data_for_gather=said,
        scheduled_time=now + closing,
        deadline=now + within,
        get_timeout=lambda: within,
        began_allreduce=False,
        wait_for_trigger=triggered,
    )


async def triggered() -> None:
    """At once."""


def introduction_in(epoch: int) -> bytes:
    return introduction(data=MSGPackSerializer.dumps(epoch))


@dataclass
class Member:
    p2p: P2P
    matchmaking: Matchmaking
    evictions: Evictions
    said: bytes
    accused: list[tuple[PeerID, PartFault]] = field(default_factory=list)

    def awaits(self, *members: "Member") -> None:
        """Whom it waits for as a leader."""
        assert isinstance(self.matchmaking, GuardedMatchmaking)
        self.matchmaking.await_members(member.p2p.peer_id.to_base58() for member in members)

    async def look(self, *, later: float = 0.0, within: float = 4 * LATER) -> list[PeerID]:
        """The group that it found, itself left out. later: seconds, so that another leads."""
        closing = self.matchmaking.potential_leaders.min_matchmaking_time + later
        found = await self.matchmaking.look_for_group(
            step(self.said, closing=closing, within=within)
        )
        return [] if found is None else [p for p in found.peer_ids if p != self.p2p.peer_id]

    async def ask(self, leader: "Member") -> GroupInfo | None:
        """The group of a peer that looks for one, if it and we take each other."""
        while leader.matchmaking.potential_leaders.declared_group_key is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        async with self.matchmaking.looking_for_group(step(self.said, closing=LONG + LATER)):
            return await self.matchmaking._request_join_group(leader.p2p.peer_id)


class Swarm:
    def __init__(self) -> None:
        self.meeting = Meeting()
        self.members: list[Member] = []

    async def add(
        self,
        kind: type[Matchmaking] = GuardedMatchmaking,
        said: bytes = introduction(),
        matchmaking_seconds: float = LONG,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> Member:
        entries = await self.members[0].p2p.get_visible_maddrs() if self.members else []
        p2p = await P2P.create(initial_peers=entries, startup_timeout=ANSWER_SECONDS)
        evictions, server = Evictions(), Server()
        accused: list[tuple[PeerID, PartFault]] = []
        options: dict[str, Any] = {}
        if issubclass(kind, GuardedMatchmaking):
            options["evictions"] = evictions
            options["on_lie"] = lambda peer, fault, _group: accused.append((peer, fault))
        server.matchmaking = kind(
            p2p,
            b"schema",
            self.meeting.of(p2p.peer_id),
            servicer_type=Server,
            prefix=PREFIX,
            # a plain leader, which doesn't know whom to wait for, closes its group with the second
            target_group_size=None if issubclass(kind, GuardedMatchmaking) else 2,
            min_group_size=2,
            min_matchmaking_time=matchmaking_seconds,
            request_timeout=answer_seconds,
            client_mode=False,
            **options,
        )
        await server.add_p2p_handlers(p2p, namespace=PREFIX)
        made = Member(p2p, server.matchmaking, evictions, said, accused)
        self.members.append(made)
        return made


@pytest.fixture
async def swarm() -> AsyncIterator[Swarm]:
    quiet_lost_connections(asyncio.get_running_loop())
    made = Swarm()
    yield made
    for member in made.members:
        await member.p2p.shutdown()


def evict(by: Member, whom: Member) -> None:
    for group in (b"one", b"two"):
        by.evictions.note(whom.p2p.peer_id.to_base58(), PartFault.NOT_FINITE, group_id=group)


@pytest.mark.parametrize("kind", [GuardedMatchmaking, Matchmaking])
async def test_honest_peer_leads_and_follows(swarm: Swarm, kind: type[Matchmaking]) -> None:
    ours, other = await swarm.add(), await swarm.add(kind)
    ours.awaits(other)
    if kind is GuardedMatchmaking:
        other.awaits(ours)
    for ours_later, other_later in ((0.0, LATER), (LATER, 0.0)):
        found = await asyncio.gather(ours.look(later=ours_later), other.look(later=other_later))
        assert found == [[other.p2p.peer_id], [ours.p2p.peer_id]]
    assert ours.accused == []


@pytest.mark.parametrize("ours_later", [0.0, 0.5])
async def test_evicted_peer_neither_leads_nor_follows(swarm: Swarm, ours_later: float) -> None:
    ours = await swarm.add(matchmaking_seconds=SHORT)
    offender = await swarm.add(Matchmaking, matchmaking_seconds=SHORT)
    evict(ours, offender)
    found = await asyncio.gather(
        ours.look(later=ours_later, within=4 * SHORT),
        offender.look(later=0.5 - ours_later, within=4 * SHORT),
    )
    assert found == [[], []]


async def test_evicted_peer_is_not_followed_on_recommendation(swarm: Swarm) -> None:
    ours, offender = await swarm.add(), await swarm.add(Matchmaking)
    evict(ours, offender)
    ours.matchmaking.step_control = step(ours.said)
    assert await ours.matchmaking._request_join_group(offender.p2p.peer_id) is None


async def test_leader_that_takes_the_whole_vector_is_not_followed(swarm: Swarm) -> None:
    ours, liar = await swarm.add(), await swarm.add(LyingLeader)
    found, _ = await asyncio.gather(ours.ask(liar), liar.look())
    assert found is None
    assert set(ours.accused) == {(liar.p2p.peer_id, PartFault.GROUP)}


async def test_leader_that_forms_a_group_without_us_is_not_followed(swarm: Swarm) -> None:
    ours, liar = await swarm.add(), await swarm.add(RudeLeader)
    found, _ = await asyncio.gather(ours.ask(liar), liar.look())
    assert found is None
    assert set(ours.accused) == {(liar.p2p.peer_id, PartFault.GROUP)}


async def test_follower_that_says_nonsense_gets_no_place(swarm: Swarm) -> None:
    ours, honest = await swarm.add(), await swarm.add()
    nonsense = await swarm.add(Matchmaking, said=b"nonsense")
    ours.awaits(honest)
    looking = asyncio.create_task(ours.look())
    assert await nonsense.ask(ours) is None
    found = await asyncio.gather(looking, honest.look(later=LATER))
    assert found == [[honest.p2p.peer_id], [ours.p2p.peer_id]]


def others(member: Member, members: list[Member]) -> set[PeerID]:
    return {each.p2p.peer_id for each in members if each is not member}


async def test_leader_waits_for_those_who_begin_late(swarm: Swarm) -> None:
    """hivemind's leader closes after the matchmaking time: here, two groups of two would form."""
    members = [await swarm.add(matchmaking_seconds=SHORT) for _ in range(4)]
    for member in members:
        member.matchmaking.min_matchmaking_time = LONG  # of waiting for those who are missing
        member.awaits(*(each for each in members if each is not member))

    async def begin(member: Member, *, at: float) -> set[PeerID]:
        await asyncio.sleep(at * SHORT)
        return set(await member.look())

    times = (0.0, 0.1, 1.2, 1.3)
    found = await asyncio.gather(
        *(begin(each, at=at) for each, at in zip(members, times, strict=True))
    )
    assert found == [others(member, members) for member in members]


async def test_complete_group_is_closed_at_once(swarm: Swarm) -> None:
    """Or the test would be given up before the matchmaking time is over."""
    members = [await swarm.add() for _ in range(3)]
    for member in members:
        member.awaits(*(each for each in members if each is not member))
    found = await asyncio.gather(*(member.look() for member in members))
    assert [set(each) for each in found] == [others(member, members) for member in members]


async def test_leader_goes_on_without_a_peer_that_does_not_come(swarm: Swarm) -> None:
    leader, follower, absent = [await swarm.add(matchmaking_seconds=SHORT) for _ in range(3)]
    leader.awaits(follower, absent)
    # while nobody has come, it begins a group again whenever the time is over
    found = await asyncio.gather(leader.look(), follower.look(later=LATER))
    assert found == [[follower.p2p.peer_id], [leader.p2p.peer_id]]


async def test_group_that_waits_for_a_peer_is_closed_when_it_is_given_up(swarm: Swarm) -> None:
    leader, follower, absent = [await swarm.add() for _ in range(3)]
    leader.awaits(follower, absent)
    looking = asyncio.gather(leader.look(), follower.look(later=LATER))
    await follower.matchmaking.was_accepted_to_group.wait()
    leader.awaits(follower)
    assert await looking == [[follower.p2p.peer_id], [leader.p2p.peer_id]]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (introduction_in(1), BAD_GROUP_KEY),
        (introduction_in(2), NOT_LOOKING_FOR_GROUP),
        (introduction(), NOT_LOOKING_FOR_GROUP),
    ],
    ids=["behind", "same", "plain"],
)
async def test_leader_takes_nobody_of_another_epoch(swarm: Swarm, said: bytes, code: int) -> None:
    leader, other = await swarm.add(), PeerID(b"other")
    leader.matchmaking.step_control = step(introduction_in(2))
    request = JoinRequest(gather=said)
    context: Any = SimpleNamespace(remote_id=other)
    replies = leader.matchmaking.rpc_join_group(request, context)
    assert [reply.code async for reply in replies] == [code]


async def test_leader_that_does_not_answer_is_asked_again(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = await swarm.add(DeafLeader), await swarm.add(answer_seconds=0.2)
    leader.awaits(follower)
    ask, tries = follower.p2p.iterate_protobuf_handler, 0

    async def asked(*arguments: Any) -> Any:
        """Let the first try's time begin once it is with the leader, and the second one succeed."""
        nonlocal tries
        answers = await ask(*arguments)
        await leader.matchmaking.was_asked.wait()
        tries += 1
        if tries > 1:
            follower.matchmaking.request_timeout = ANSWER_SECONDS
        return answers

    monkeypatch.setattr(follower.p2p, "iterate_protobuf_handler", asked)
    found = await asyncio.gather(leader.look(), follower.look(later=LATER))
    assert tries == 2
    assert found == [[follower.p2p.peer_id], [leader.p2p.peer_id]]


@pytest.mark.parametrize(
    ("said", "epoch"),
    [(introduction(), None), (introduction_in(7), 7), (introduction(data=b"\xa1x"), None)],
)
def test_epoch_that_an_introduction_says(said: bytes, epoch: int | None) -> None:
    assert epoch_in(said) == epoch


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xc1",
        MSGPackSerializer.dumps([None, 0]),
        introduction(bandwidth=math.nan),
        introduction(bandwidth=-1.0),
        introduction(bandwidth=1e300),
        introduction(bandwidth="fast"),
        introduction(mode=7),
        introduction(mode=None),
        introduction(data=b"\xc1"),
        introduction(data=None),
    ],
)
def test_nonsense_is_no_introduction(said: bytes) -> None:
    assert not is_introduction(said)


@pytest.mark.parametrize("bandwidth", [None, 0, 0.0, 1, 100.0])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_what_hivemind_says_is_an_introduction(bandwidth: float | None, mode: int) -> None:
    assert is_introduction(introduction(bandwidth=bandwidth, mode=mode))
