"""A newcomer takes the state of a donor that can be believed, and no other."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from hivemind.compression import serialize_torch_tensor
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.proto.averaging_pb2 import DownloadData  # type: ignore[attr-defined]
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.streaming import split_for_streaming

from app.common import signing
from app.common.signing import MachineKey
from app.p2p.states import download
from app.p2p.states.download import DonorCalls
from app.p2p.states.wire import Header, StateRefusal, Wanted
from app.protocol import StateDownload
from app.trainer.joining import newcomer as module
from app.trainer.joining.newcomer import Newcomer
from app.trainer.peer.doors import Doors
from app.trainer.peer.traffic import Traffic
from tests.support.organiser.organisers import organiser
from tests.support.training.states import EPOCH, Donor, SmallState, SmallSwarm


@dataclass(kw_only=True)
class Trial:
    """What a newcomer did."""

    epoch: int | None
    state: SmallState
    reports: list[StateDownload]
    traffic: Traffic


KEY, OTHER_KEY = organiser(), organiser()


class WaitsError(Exception):
    """It would wait and look again."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_seconds: float) -> None:
        raise WaitsError

    monkeypatch.setattr(module.asyncio, "sleep", sleep)


def counted(traffic: Traffic) -> Callable[[int], Awaitable[None]]:
    async def arrived(size: int) -> None:
        traffic.count_received(size)

    return arrived


async def join(*donors: Donor, steps: int = 0, others: int = 1) -> Trial:
    state, swarm, reports = SmallState(steps=steps), SmallSwarm.of(*donors), []
    swarm.others = others
    traffic = Traffic()
    peer = Newcomer(state=state, swarm=swarm, report=reports.append)
    try:
        epoch = await peer.take_over(DonorCalls(stub=swarm.stub, arrived=counted(traffic)))
    except WaitsError:
        epoch = -1
    return Trial(epoch=epoch, state=state, reports=reports, traffic=traffic)


def honest(steps: int = 40) -> Donor:
    return Donor(content=bytes(SmallState(steps=steps).content()))


def hostile(change: str) -> Donor:
    state = SmallState(steps=40)
    weight, statistics = state.model.weight.data, state.optimizer.state[state.model.weight]
    match change:
        case "garbage":
            weight.copy_(100 * torch.randn_like(weight))
        case "nan":
            weight[0, 3] = torch.nan
        case "moments":
            statistics["exp_avg"].fill_(1e6)
            statistics["exp_avg_sq"].zero_()
        case "negative":
            statistics["exp_avg_sq"].fill_(-1.0)
        case "steps":
            statistics["step"].fill_(1e9)
    return Donor(content=bytes(state.content()))


async def test_takes_over_parameters_and_statistics() -> None:
    donor = honest()
    trial = await join(donor)
    assert trial.epoch == EPOCH
    assert trial.state.content() == donor.content
    assert trial.traffic.received >= len(donor.content)
    last = trial.reports[-1]
    assert last.received == last.size == len(donor.content)


@pytest.mark.parametrize("change", ["garbage", "nan", "moments", "negative", "steps"])
async def test_hostile_state_is_refused_and_ours_stays(change: str) -> None:
    trial = await join(hostile(change), steps=10)
    assert trial.epoch == -1
    assert trial.state.content() == SmallState(steps=10).content()
    assert "loss" in trial.reports[-1].problem


@pytest.mark.parametrize("change", ["garbage", "nan", "moments", "negative", "steps"])
@pytest.mark.parametrize("first", [True, False])
async def test_honest_donor_wins_against_a_hostile_one(change: str, first: bool) -> None:
    bad, good = hostile(change), honest()
    trial = await join(*((bad, good) if first else (good, bad)))
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


async def test_two_that_agree_are_believed_though_a_third_looks_better() -> None:
    better, good = honest(steps=400), honest(steps=40)
    trial = await join(better, good, honest(steps=41))
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


class Plain(Donor):
    """Answers like a plain hivemind peer, or says so."""

    async def rpc_send_state(self, request: Any) -> AsyncIterator[Any]:
        raise P2PDaemonError("failed to negotiate: protocols not supported")

    async def rpc_download_state(self, _request: Any) -> AsyncIterator[Any]:
        return self._tensors()

    async def _tensors(self) -> AsyncIterator[Any]:
        metadata = MSGPackSerializer.dumps({"epoch": self.epoch})
        for tensor in SmallState().layout.unpack(bytearray(self.content)):
            for part in split_for_streaming(serialize_torch_tensor(tensor)):
                yield DownloadData(tensor_part=part, metadata=metadata)
                metadata = b""


async def test_a_plain_donor_is_believed_where_no_other_is_there() -> None:
    donor = Plain(content=honest().content)
    trial = await join(donor)
    assert trial.epoch == EPOCH
    assert trial.state.content() == donor.content


async def test_who_claims_to_be_plain_is_held_against_the_others() -> None:
    better, good = Plain(content=honest(steps=400).content), honest(steps=40)
    trial = await join(better, good, honest(steps=41))
    assert trial.state.content() == good.content


async def test_where_bits_count_nobody_is_plain() -> None:
    state, swarm = SmallState(), SmallSwarm.of(Plain(content=exact(40).content))
    state.exact = True
    peer = Newcomer(state=state, swarm=swarm, report=lambda _report: None, is_followed=True)
    with pytest.raises(WaitsError):
        await peer.take_over(DonorCalls(stub=swarm.stub))


@pytest.mark.parametrize("later", [0, 1])
async def test_where_bits_count_a_download_is_of_one_epoch(later: int) -> None:
    """Two donors in one epoch have the same bits."""
    gone, other = exact(40), exact(40 + later)
    gone.breaks_after = 20
    other.epoch += later
    state, swarm = SmallState(), SmallSwarm.of(gone, other)
    state.exact = True
    traffic = Traffic()
    peer = Newcomer(state=state, swarm=swarm, report=lambda _report: None, is_followed=True)
    epoch = await peer.take_over(DonorCalls(stub=swarm.stub, arrived=counted(traffic)))
    assert epoch == EPOCH + later
    assert state.content() == other.content
    assert traffic.received >= len(other.content) + 20 * later


async def test_nobody_goes_on_in_an_epoch_that_only_a_donor_claims() -> None:
    liar = exact(40)
    liar.epoch = 10**7
    state, swarm = SmallState(), SmallSwarm.of(liar)
    state.exact = True
    peer = Newcomer(state=state, swarm=swarm, report=lambda _report: None, is_followed=True)
    epoch = await peer.take_over(DonorCalls(stub=swarm.stub, arrived=counted(Traffic())))
    assert epoch == EPOCH + 1


def exact(steps: int) -> Donor:
    state = SmallState(steps=steps)
    state.exact = True
    return Donor(content=bytes(state.content()))


async def test_goes_on_from_another_donor_where_the_first_broke_off() -> None:
    gone, other = honest(), honest()
    gone.breaks_after = 20
    trial = await join(gone, other)
    assert trial.state.content() == other.content
    assert other.asked[0].ranges[0][0] == 20


@pytest.mark.parametrize("refusal", list(StateRefusal))
async def test_another_donor_is_asked_after_a_refusal(refusal: StateRefusal) -> None:
    refusing = honest()
    refusing.refusal = refusal
    trial = await join(refusing, honest())
    assert trial.epoch == EPOCH


@dataclass
class Clock:
    """Of downloads."""

    now: float = 0.0

    def monotonic(self) -> float:
        """As `time` has it."""
        return self.now


@dataclass(kw_only=True)
class Dribbling(Donor):
    """Sends a byte of its state a second."""

    clock: Clock

    async def _replies(self, wanted: Wanted) -> AsyncIterator[Any]:
        async for reply in super()._replies(wanted):
            if not wanted.ranges or len(reply.metadata) < len(self.content):
                yield reply
                continue
            for byte in self.content[wanted.ranges[0][0] :]:
                self.clock.now += 1.0
                yield SimpleNamespace(metadata=bytes([byte]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(download, "time", clock)
    monkeypatch.setattr(download, "BRISK", 10.0)
    monkeypatch.setattr(download, "SLOWEST", 0.1)
    return clock


async def test_who_dribbles_is_left_for_another(clock: Clock) -> None:
    other = honest()
    slow = Dribbling(content=other.content, clock=clock)
    trial = await join(slow, other)
    assert trial.state.content() == other.content
    ((begin, _end),) = other.asked[0].ranges
    assert begin == download.SLOWEST_SECONDS + 1  # what has arrived stays
    assert len(slow.asked) == 1


async def test_a_slow_donor_is_taken_where_there_is_no_other(clock: Clock) -> None:
    content = honest().content
    slow = Dribbling(content=content, clock=clock)
    trial = await join(slow)
    assert trial.state.content() == content
    assert len(slow.asked) == 2


async def test_another_donor_is_asked_when_one_ends_without_a_word() -> None:
    mute = honest()
    mute.is_mute = True
    assert (await join(mute, honest())).epoch == EPOCH


async def test_more_than_was_asked_for_is_not_taken() -> None:
    endless, good = honest(), honest()
    endless.extra = 1
    trial = await join(endless, good)
    assert trial.epoch == EPOCH
    assert trial.state.content() == good.content


async def test_donor_of_another_size_is_another_model() -> None:
    other = honest()
    other.size = 2**50
    trial = await join(other)
    assert "another model" in trial.reports[-1].problem


async def test_nobody_left_means_our_own_state() -> None:
    trial = await join(others=0)
    assert trial.epoch is None


async def test_waits_while_others_train_but_give_no_state() -> None:
    trial = await join(others=3)
    assert trial.epoch == -1
    assert trial.reports[-1].problem


async def test_asks_again_when_the_swarm_got_far_ahead() -> None:
    old = honest()
    old.epoch = EPOCH - module.MOST_BEHIND - 1
    trial = await join(old)
    assert trial.epoch == EPOCH
    assert (
        len([each for each in old.asked if len(each.ranges) == 1]) == module.MOST_DOWNLOADS_IN_A_ROW
    )


# --- a door's snapshot


def snapshot(epoch: int = EPOCH, *, key: MachineKey | None = None, steps: int = 40) -> Donor:
    state = SmallState(steps=steps)
    content, layout = bytes(state.content()), state.layout
    header = Header(
        epoch=epoch,
        size=len(content),
        layout=layout.digest,
        parameters_end=layout.parameters_end,
        digest=hashlib.sha256(content).hexdigest(),
    )
    if key is not None:
        signature = signing.as_text(key.sign(header.to_sign("run")))
        header = msgspec.structs.replace(header, signature=signature)
    return Donor(content=content, epoch=epoch, snapshot=header)


async def begin(
    *doors: Donor, swarm_epoch: int = 0, own: int = 0, begins: bool = True, key: str = ""
) -> tuple[int | None, Newcomer]:
    swarm = SmallSwarm.of(*doors)
    swarm.begins, swarm.epoch, swarm.others = begins, swarm_epoch, 0
    peer = Newcomer(state=SmallState(), swarm=swarm, report=lambda _report: None)
    asked = Doors(run_id="run", peers=tuple(swarm.by_peer), organiser_key=key)
    calls = DonorCalls(stub=swarm.stub, arrived=counted(Traffic()))
    return await peer.take_snapshot(calls, asked, own_epoch=own), peer


async def test_begins_with_the_newest_snapshot_of_the_doors() -> None:
    older, newer = snapshot(70), snapshot(80, steps=60)
    epoch, peer = await begin(older, newer)
    assert (epoch, peer.snapshot_epoch) == (80, 80)
    assert peer.state.layout.pack(peer.state.tensors) == newer.content


async def test_an_older_snapshot_than_what_the_swarm_or_we_have_is_not_used() -> None:
    for swarm_epoch, own in ((80, 0), (81, 0), (0, 80), (0, 81)):
        epoch, peer = await begin(snapshot(80), swarm_epoch=swarm_epoch, own=own)
        assert (epoch, peer.snapshot_epoch) == (None, None)


async def test_no_door_is_asked_where_others_have_got_somewhere() -> None:
    door = snapshot()
    epoch, _peer = await begin(door, begins=False)
    assert (epoch, door.asked) == (None, [])


async def test_another_door_is_asked_when_one_is_wrong() -> None:
    changed = snapshot(90)
    changed.content = changed.content[:-1] + b"\x7f"
    unwilling = snapshot(85)
    unwilling.refusal = StateRefusal.UNWILLING
    epoch, _peer = await begin(changed, unwilling, snapshot(80))
    assert epoch == 80


@pytest.mark.parametrize("change", ["garbage", "nan", "moments", "negative", "steps"])
async def test_hostile_snapshot_is_refused_and_ours_stays(change: str) -> None:
    bad = hostile(change)
    header = snapshot().snapshot
    assert header is not None
    digest = hashlib.sha256(bad.content).hexdigest()
    bad.snapshot = msgspec.structs.replace(header, digest=digest)
    epoch, peer = await begin(bad)
    assert (epoch, peer.snapshot_epoch) == (None, None)
    assert peer.state.layout.pack(peer.state.tensors) == SmallState().content()


async def test_an_epoch_that_its_steps_cannot_have_reached_is_refused() -> None:
    assert (await begin(snapshot(10**9)))[0] is None


async def test_where_there_is_an_organiser_only_a_signed_snapshot_counts() -> None:
    for wrong in (snapshot(80), snapshot(80, key=OTHER_KEY)):
        assert (await begin(wrong, key=KEY.public_key))[0] is None
    good = snapshot(80, key=KEY)
    assert (await begin(good, key=KEY.public_key))[0] == 80
    assert good.snapshot is not None
    good.epoch_with_bytes = 100  # which nobody has signed
    assert (await begin(good, key=KEY.public_key))[0] == 80
    good.snapshot = msgspec.structs.replace(good.snapshot, epoch=81)
    assert (await begin(good, key=KEY.public_key))[0] is None


async def test_a_download_that_broke_off_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_seconds: float) -> None:
        """Looks again."""

    monkeypatch.setattr(module.asyncio, "sleep", at_once)
    door = snapshot(80)
    door.breaks_after = 20
    assert (await begin(door))[0] == 80
    assert [each.ranges[0][0] for each in door.asked if each.ranges] == [0, 20]


async def test_a_door_that_never_sends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOOR_PATIENCE_SECONDS", 0.0)
    busy = snapshot()
    busy.refuses_ranges = StateRefusal.BUSY
    assert (await begin(busy))[0] is None


async def test_a_door_whose_snapshot_was_refused_is_not_asked_for_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong, busy = snapshot(90), snapshot(80)
    wrong.content = wrong.content[:-1] + b"\x7f"
    busy.refuses_ranges = StateRefusal.BUSY

    async def gets_a_place(_seconds: float) -> None:
        busy.refuses_ranges = None

    monkeypatch.setattr(module.asyncio, "sleep", gets_a_place)
    assert (await begin(wrong, busy))[0] == 80
    assert len([each for each in wrong.asked if each.ranges]) == 1


async def test_waits_for_a_door_that_has_no_place_now() -> None:
    busy = snapshot()
    busy.refuses_ranges = StateRefusal.BUSY
    with pytest.raises(WaitsError):
        await begin(busy)
