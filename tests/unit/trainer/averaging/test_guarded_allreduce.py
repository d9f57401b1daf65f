"""Rounds among real peers in one process, one of which attacks with hivemind's own runner."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import pytest
import torch
from hivemind.averaging.allreduce import AllReduceRunner
from hivemind.averaging.partition import AllreduceException
from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.proto import averaging_pb2
from hivemind.utils.asyncio import aiter_with_timeout, as_aiter

from app.p2p.calls import quiet_lost_connections
from app.p2p.sightings import PartFault
from app.trainer.averaging.guard import Bounds, GradientBounds, StateBounds
from app.trainer.averaging.guarded_allreduce import GuardedReducer, GuardedRunner
from app.trainer.averaging.offences import EVICTING

GROUP = b"group"
SHAPES = ((120, 50), (3000,), (64,))
GRADIENTS = GradientBounds(most_weight=1024.0)

PATIENCE = 30.0
"""Seconds for which a busy machine isn't silent."""

SILENCE = 0.5
"""The same, for those who are silent on purpose."""

Tensors = list[torch.Tensor]


def gradients(seed: int) -> Tensors:
    draw, common = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=common) + torch.randn(shape, generator=draw)
        for shape in SHAPES
    ]


def flat(tensors: Tensors) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@dataclass
class Round:
    """What each honest member had after it, and whom it accused."""

    tensors: dict[int, Tensors] = field(default_factory=dict)
    accused: list[tuple[int, int, PartFault]] = field(default_factory=list)
    """(who accuses, who is accused, of what), as numbers of peers."""
    arrived: dict[int, float] = field(default_factory=dict)
    """By honest member: the share of the parts that it says arrived."""


@dataclass
class Group:
    peers: list[P2P]

    async def average(
        self,
        members: list[Tensors],
        *,
        attackers: dict[int, type[AllReduceRunner]] | None = None,
        weights: list[float] | None = None,
        fractions: list[float] | None = None,
        bounds: Bounds = GRADIENTS,
        all_end: bool = False,
        left_out: tuple[int, ...] = (),
        silent: tuple[int, ...] = (),
    ) -> Round:
        """One round; honest members get what they believe added to their tensors.

        all_end: attackers are waited for as well, and not cancelled. left_out: whose parts honest
        members take no more. silent: whom honest members wait for no longer than `SILENCE`.
        """
        attackers = attackers or {}
        made = Round()
        ids = [peer.peer_id for peer in self.peers[: len(members)]]
        runners: list[AllReduceRunner] = []
        for number, tensors in enumerate(members):
            options: dict[str, Any] = {
                "p2p": self.peers[number],
                "servicer_type": AllReduceRunner,
                "prefix": None,
                "group_id": GROUP,
                "tensors": tensors,
                "weight": (weights or [1.0] * len(members))[number],
                "ordered_peer_ids": ids,
                "peer_fractions": tuple(fractions or [1 / len(members)] * len(members)),
                "sender_timeout": PATIENCE,
                "reducer_timeout": 2 * PATIENCE,
                "part_size_bytes": 4096,
            }
            if number in attackers:
                runner = attackers[number](**options)
            else:
                runner = Wired(
                    bounds=bounds,
                    on_fault=accuse(made, number, ids),
                    left_out=[ids[each] for each in left_out],
                    silent={ids[each] for each in silent},
                    **options,
                )
            await runner.add_p2p_handlers(self.peers[number])
            runners.append(runner)
        for runner in runners:
            if isinstance(runner, Attacker):
                runner.group = runners
        tasks = [
            asyncio.create_task(run(runner, tensors))
            for runner, tensors in zip(runners, members, strict=True)
        ]
        honest = [task for number, task in enumerate(tasks) if number not in attackers]
        await asyncio.wait(tasks if all_end else honest)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for number, runner in enumerate(runners):
            with contextlib.suppress(asyncio.CancelledError):
                runner._future.exception()  # an attacker's, which nobody else asks for
            await runner.remove_p2p_handlers(self.peers[number])
            if isinstance(runner, GuardedRunner):
                made.arrived[number] = runner.arrived
        made.tensors = {
            number: tensors for number, tensors in enumerate(members) if number not in attackers
        }
        return made


class Wired(GuardedRunner):
    """Known on the wire by hivemind's name, as our averagers are; impatient with some only."""

    def __init__(self, *, silent: set[PeerID], **options: Any) -> None:
        super().__init__(**options)
        self.silent = silent
        if silent:
            started: Any = self.all_senders_started
            started.wait = self.others_have_started

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return AllReduceRunner._get_handle_name(namespace, method_name)

    async def others_have_started(self) -> None:
        """The time for the silent ones is over once all others have come."""
        while not set(self.sender_peer_ids) <= self.active_senders | self.silent:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        raise TimeoutError

    def _get_peer_stub(self, peer: PeerID) -> Any:
        stub: Any = super()._get_peer_stub(peer)
        if peer in self.silent:
            call = stub.rpc_aggregate_part

            async def call_silent(inputs: Any) -> Any:
                return aiter_with_timeout(await call(inputs), SILENCE)

            stub.rpc_aggregate_part = call_silent
        return stub


def accuse(made: Round, number: int, ids: list[PeerID]) -> Callable[[PeerID, PartFault], None]:
    return lambda peer, fault: made.accused.append((number, ids.index(peer), fault))


async def run(runner: AllReduceRunner, tensors: Tensors) -> None:
    updates = [update async for update in runner]
    for tensor, update in zip(tensors, updates, strict=True):
        tensor.add_(update)


@pytest.fixture
async def group() -> AsyncIterator[Group]:
    quiet_lost_connections(asyncio.get_running_loop())
    peers = [await P2P.create(startup_timeout=2 * PATIENCE)]
    addresses = await peers[0].get_visible_maddrs()
    peers += [
        await P2P.create(initial_peers=addresses, startup_timeout=2 * PATIENCE) for _ in range(3)
    ]
    yield Group(peers)
    for peer in peers:
        await peer.shutdown()


class Attacker(AllReduceRunner):
    """Named as hivemind's runner on the wire."""

    group: list[AllReduceRunner]

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return AllReduceRunner._get_handle_name(namespace, method_name)

    async def _ban_sender(self, peer_id: PeerID) -> None:
        # A member that hangs up cancels the average of hivemind's reducer, which then fails here.
        with contextlib.suppress(asyncio.InvalidStateError):
            await super()._ban_sender(peer_id)


class Sends(Attacker):
    """Changes each message before it leaves."""

    @staticmethod
    def spoil(message: averaging_pb2.AveragingData) -> averaging_pb2.AveragingData:
        return message

    async def _generate_input_for_peer(self, peer_index: int) -> AsyncIterator[Any]:
        async for message in super()._generate_input_for_peer(peer_index):
            yield self.spoil(message)


def weighing(weight: float) -> type[AllReduceRunner]:
    class Weighing(Sends):
        @staticmethod
        def spoil(message: averaging_pb2.AveragingData) -> averaging_pb2.AveragingData:
            message.weight = weight
            return message

    return Weighing


class Huge(Sends):
    """Claims a tensor of four gigabytes."""

    @staticmethod
    def spoil(message: averaging_pb2.AveragingData) -> averaging_pb2.AveragingData:
        message.tensor_part.size[:] = [2**30]
        return message


def lying(change: Callable[[torch.Tensor], torch.Tensor]) -> type[AllReduceRunner]:
    class Lying(Attacker):
        """As a reducer, returns another average than it made."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            honest = self.tensor_part_reducer.accumulate_part

            async def lie(*args: Any, **named: Any) -> torch.Tensor:
                return change(await honest(*args, **named))

            setattr(self.tensor_part_reducer, honest.__name__, lie)

    return Lying


class Silent(Attacker):
    """Takes its place in the group, and says nothing."""

    async def _communicate_with_peer(self, peer_id: PeerID) -> None:
        await asyncio.Event().wait()

    async def rpc_aggregate_part(  # hivemind takes the messages from the annotations
        self, stream: AsyncIterator[averaging_pb2.AveragingData], context: P2PContext
    ) -> AsyncIterator[averaging_pb2.AveragingData]:
        await asyncio.Event().wait()
        yield averaging_pb2.AveragingData()


class HangsUp(Attacker):
    """Sends each member its first part, and closes the connection instead of waiting."""

    async def _communicate_with_peer(self, peer_id: PeerID) -> None:
        if peer_id == self.peer_id:
            await super()._communicate_with_peer(peer_id)  # or nobody would get its averages
            return
        peer_index = self.ordered_peer_ids.index(peer_id)
        sent = asyncio.Event()

        async def only_the_first() -> AsyncIterator[averaging_pb2.AveragingData]:
            async for message in self._generate_input_for_peer(peer_index):
                yield message
                break
            sent.set()
            await asyncio.Event().wait()

        stub = self._get_peer_stub(peer_id)
        answers = await stub.rpc_aggregate_part(only_the_first())
        reading = asyncio.create_task(anext(answers))
        await sent.wait()
        reading.cancel()


class Twice(Attacker):
    """Begins a second stream, whose part would take another member's place."""

    answers: list[Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answers = []

    async def run(self) -> AsyncIterator[torch.Tensor]:
        async for tensor in super().run():
            yield tensor
        for stream in self.answers:
            async for _ in stream:
                pass

    async def _generate_input_for_peer(self, peer_index: int) -> AsyncIterator[Any]:
        messages = [each async for each in super()._generate_input_for_peer(peer_index)]
        yield messages[0]
        # Streams may overtake each other, and only the first to arrive counts.
        while self.peer_id not in self.group[peer_index]._called:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        stub = self._get_peer_stub(self.ordered_peer_ids[peer_index])
        self.answers.append(await stub.rpc_aggregate_part(as_aiter(messages[0])))
        for message in messages[1:]:
            yield message


def mean(*members: Tensors) -> torch.Tensor:
    return torch.stack([flat(tensors) for tensors in members]).mean(dim=0)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


async def test_honest_members_get_the_mean(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    expected = mean(*members)
    made = await group.average(members)
    for tensors in made.tensors.values():
        assert torch.allclose(flat(tensors), expected, atol=1e-5)
    assert made.accused == []
    assert set(made.arrived.values()) == {1.0}


async def test_plain_member_gets_the_mean_and_gives_it(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    expected = mean(*members)
    made = await group.average(members, attackers={2: Attacker}, all_end=True)
    for tensors in (*made.tensors.values(), members[2]):
        assert torch.allclose(flat(tensors), expected, atol=1e-5)
    assert made.accused == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
async def test_member_that_sends_no_numbers_is_left_out(group: Group, value: float) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    members[2] = [torch.full_like(tensor, value) for tensor in members[2]]
    made = await group.average(members, attackers={2: Attacker})
    for tensors in made.tensors.values():
        assert torch.isfinite(flat(tensors)).all()
        assert cosine(flat(tensors), mean(members[0], members[1])) > 0.9
    assert {(by, fault) for by, who, fault in made.accused if who == 2} >= {
        (0, PartFault.NOT_FINITE),
        (1, PartFault.NOT_FINITE),
    }
    assert {who for _, who, _ in made.accused} == {2}


@pytest.mark.parametrize("weight", [1e30, -1.0, math.nan])
async def test_weight_that_nobody_can_have_does_not_count(group: Group, weight: float) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    members[2] = [-1e3 * tensor for tensor in members[2]]
    honest = mean(gradients(1), gradients(2))
    made = await group.average(members, attackers={2: weighing(weight)})
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), honest) > 0.7
    assert {(who, fault) for _, who, fault in made.accused} <= {
        (2, PartFault.WEIGHT),
        (2, PartFault.AVERAGE),
    }
    assert (0, 2, PartFault.WEIGHT) in made.accused


async def test_huge_part_costs_no_memory(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    honest = mean(gradients(1), gradients(2))
    made = await group.average(members, attackers={2: Huge})
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), honest) > 0.7
    assert {(by, who, fault) for by, who, fault in made.accused} >= {
        (0, 2, PartFault.SHAPE),
        (1, 2, PartFault.SHAPE),
    }


async def test_member_of_another_shape_is_left_out(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2)]
    members.append([torch.ones(70), torch.ones(90)])
    # as a reducer it would fail, perhaps before it has sent anything, and be waited for
    made = await group.average(members, attackers={2: Attacker}, fractions=[0.5, 0.5, 0.0])
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), mean(gradients(1), gradients(2))) > 0.7
    assert {who for _, who, _ in made.accused} == {2}
    assert {fault for _, _, fault in made.accused} >= {PartFault.SHAPE}


@pytest.mark.parametrize("times", [-1.0, 1e4, math.nan])
async def test_lying_reducer_is_not_believed(group: Group, times: float) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    honest = mean(*members)
    liar = lying(lambda average: times * average)
    made = await group.average(members, attackers={2: liar}, fractions=[0.3, 0.3, 0.4])
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), honest) > 0.8
        assert float(flat(tensors).norm()) < 1.5 * float(honest.norm())
    assert {(by, who, fault) for by, who, fault in made.accused} == {
        (0, 2, PartFault.AVERAGE),
        (1, 2, PartFault.AVERAGE),
    }


async def test_parameters_of_a_hostile_member_are_left_out(group: Group) -> None:
    ours = gradients(1)
    members = [[tensor.clone() for tensor in ours] for _ in range(2)]
    members.append([torch.full_like(tensor, 1e6) for tensor in ours])
    made = await group.average(members, attackers={2: Attacker}, bounds=StateBounds())
    for tensors in made.tensors.values():
        assert torch.allclose(flat(tensors), flat(ours), atol=1e-4)
    assert (0, 2, PartFault.FAR) in made.accused
    assert {who for _, who, _ in made.accused} == {2}


# --- who is named, and for what ------------------------------------------------------------------


async def test_silent_member_is_named_as_such(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    honest = mean(gradients(1), gradients(2))
    made = await group.average(members, attackers={2: Silent}, silent=(2,))
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), honest) > 0.7
    assert set(made.accused) == {(0, 2, PartFault.SILENT), (1, 2, PartFault.SILENT)}
    assert all(0.5 < share < 0.8 for share in made.arrived.values())


async def test_member_that_hangs_up_fails_nobody(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    honest = mean(members[0], members[1])
    made = await group.average(members, attackers={2: HangsUp})
    for tensors in made.tensors.values():
        assert cosine(flat(tensors), honest) > 0.7
    assert min(made.arrived.values()) > 0.3


async def test_member_that_waits_no_longer_cancels_no_average() -> None:
    shape = torch.Size([64])
    reducer = GuardedReducer(
        [shape], 3, bounds=GRADIENTS, own_sender=0, accuse=lambda sender, fault: None
    )
    parts = [torch.ones(shape), torch.ones(shape), 3 * torch.ones(shape)]
    ours = asyncio.create_task(reducer.accumulate_part(0, 0, parts[0]))
    theirs = asyncio.create_task(reducer.accumulate_part(1, 0, parts[1]))
    await asyncio.sleep(0)
    theirs.cancel()
    await asyncio.wait({theirs})
    average = await reducer.accumulate_part(2, 0, parts[2])
    assert torch.equal(average, await ours)


async def test_part_after_the_end_of_a_round_is_refused() -> None:
    shape = torch.Size([64])
    reducer = GuardedReducer(
        [shape], 2, bounds=GRADIENTS, own_sender=0, accuse=lambda sender, fault: None
    )
    reducer.finalize()
    with pytest.raises(AllreduceException, match="ended"):
        await reducer.accumulate_part(1, 0, torch.ones(shape))


async def test_member_to_whom_nobody_sends_an_average_says_so(group: Group) -> None:
    members = [[torch.ones(64), torch.ones(64)] for _ in range(2)]
    made = await group.average(members, attackers={1: Silent}, silent=(1,))
    assert made.arrived == {0: 0.0}


async def test_parts_of_an_evicted_member_do_not_count(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    expected = mean(gradients(1), gradients(2))
    made = await group.average(
        members, attackers={2: Attacker}, left_out=(2,), fractions=[0.5, 0.5, 0.0]
    )
    for tensors in made.tensors.values():
        assert torch.allclose(flat(tensors), expected, atol=1e-5)
    assert made.accused == []


async def test_second_stream_takes_no_other_member_s_place(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    expected = mean(*members)
    made = await group.average(
        members, attackers={2: Twice}, fractions=[0.5, 0.5, 0.0], all_end=True
    )
    for tensors in made.tensors.values():
        assert torch.allclose(flat(tensors), expected, atol=1e-5)
    assert made.accused == []


async def test_plain_reducer_is_not_blamed_for_the_lie_that_it_believed(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    members[2] = [torch.full_like(tensor, math.nan) for tensor in members[2]]
    # member 1 is plain hivemind: it believes member 2
    made = await group.average(members, attackers={1: Attacker, 2: Attacker})
    faults = {fault for _, who, fault in made.accused if who == 1}
    assert faults == {PartFault.AVERAGE}
    assert not faults & EVICTING


async def test_noise_in_a_small_tensor_is_left_out_without_a_name() -> None:
    accused: list[tuple[int, PartFault]] = []
    shapes = [torch.Size([64]), torch.Size([20_000])]
    reducer = GuardedReducer(
        shapes,
        2,
        bounds=GRADIENTS,
        own_sender=0,
        accuse=lambda sender, fault: accused.append((sender, fault)),
    )
    ours, theirs = (
        [torch.ones(shape) for shape in shapes],
        [-torch.ones(64), 2 * torch.ones(20_000)],
    )
    averages = [
        await asyncio.gather(
            reducer.accumulate_part(0, index, ours[index]),
            reducer.accumulate_part(1, index, theirs[index]),
        )
        for index in range(2)
    ]
    assert torch.equal(averages[0][0], ours[0])
    assert accused == []


async def test_reversed_gradient_is_named(group: Group) -> None:
    members = [gradients(seed) for seed in (1, 2, 3)]
    members[2] = [-tensor for tensor in members[2]]
    made = await group.average(members, attackers={2: Attacker})
    assert (0, 2, PartFault.AGAINST) in made.accused
    assert {who for _, who, _ in made.accused} == {2}
