"""What a donor sends, to whom, and for how long it holds a copy of its state."""

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hivemind.compression import NoCompression, deserialize_torch_tensor
from hivemind.compression.base import CompressionInfo, TensorRole
from hivemind.p2p import P2PContext, PeerID
from hivemind.proto.averaging_pb2 import DownloadRequest  # type: ignore[attr-defined]
from hivemind.utils.serializer import MSGPackSerializer

from app.common.background import end
from app.p2p.states import places
from app.p2p.states.places import MOST_DOWNLOADS
from app.p2p.states.wire import Header, StateRefusal, Wanted
from app.trainer.joining import donor as module
from app.trainer.joining.donor import StateDonor
from app.trainer.peer.traffic import Traffic
from tests.support.training.states import EPOCH, SmallState


class Donor(StateDonor):
    """An averager without processes, whose host answers at once."""

    allow_state_sharing = True
    state_compression = NoCompression()
    serializer = MSGPackSerializer

    def __init__(self) -> None:  # hivemind's own would fork
        self.state = SmallState(steps=3)
        self.snapshots = 0
        self.epoch = EPOCH
        self.copies, self.may_copy = asyncio.Event(), asyncio.Event()
        self.may_copy.set()
        type(self).traffic = Traffic()

    def __del__(self) -> None:
        """hivemind's would shut processes down."""

    @property
    def state_sharing_priority(self) -> float:
        """What it offers."""
        return self.epoch

    async def _get_current_state_from_host_process(self) -> Any:
        self.snapshots += 1
        self.copies.set()
        await self.may_copy.wait()
        tensors = list(self.state.tensors)
        roles = [TensorRole.PARAMETER] * 2 + [TensorRole.OPTIMIZER] * (len(tensors) - 2)
        infos = [
            CompressionInfo.from_tensor(tensor, key=number, role=role)
            for number, (tensor, role) in enumerate(zip(tensors, roles, strict=True))
        ]
        return MSGPackSerializer.dumps({"epoch": self.epoch}), tensors, infos

    def ask(self, *ranges: tuple[int, int], peer: int = 1, layout: str = "") -> AsyncGenerator[Any]:
        """A peer's call."""
        digest = layout or self.state.layout.digest
        peer_id = PeerID(b"\x12\x20" + bytes([peer]) * 32)
        context = P2PContext(handle_name="", local_id=peer_id, remote_id=peer_id)
        replies: Any = self.rpc_send_state(Wanted(layout=digest, ranges=ranges).pack(), context)
        return replies

    def ask_as_hivemind(self, peer: int = 1) -> AsyncGenerator[Any]:
        """A plain peer's call."""
        peer_id = PeerID(b"\x12\x20" + bytes([peer]) * 32)
        context = P2PContext(handle_name="", local_id=peer_id, remote_id=peer_id)
        replies: Any = self.rpc_download_state(DownloadRequest(), context)
        return replies


class ExactDonor(Donor):
    is_exact = True

    def __init__(self) -> None:
        super().__init__()
        self.state.exact = True


async def answer(replies: AsyncGenerator[Any]) -> tuple[Header, bytes]:
    header, *parts = [each.metadata async for each in replies]
    return Header.parse(header), b"".join(parts)


async def test_the_ranges_that_are_asked_for_are_sent_and_counted() -> None:
    donor = Donor()
    content = donor.state.content()
    header, sent = await answer(donor.ask((4, 12), (0, 2**60)))
    assert (header.epoch, header.size, header.refusal) == (EPOCH, len(content), "")
    assert sent == content[4:12] + content
    assert donor.traffic.sent == len(sent)
    assert donor.traffic.sent_in_rounds == 0


async def test_newcomers_share_a_snapshot() -> None:
    donor = Donor()
    before = donor.state.content()
    await answer(donor.ask((0, 8), peer=1))
    donor.state.trial_step()
    _, sent = await answer(donor.ask((0, 2**60), peer=2))
    assert (donor.snapshots, sent) == (1, before)


async def test_snapshot_is_forgotten_when_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    donor = Donor()
    reading = donor.ask((0, 2**60))
    await anext(reading)
    await answer(donor.ask((0, 8), peer=2))
    await asyncio.sleep(0)
    assert donor._snapshot is not None  # somebody downloads
    await answer(reading_on(reading))
    await asyncio.sleep(0)
    assert donor._snapshot is None


EVERYTHING = (0, 2**60)


async def begun(donor: Donor, *, peer: int) -> AsyncGenerator[Any]:
    """A download that has its header, and stalls."""
    reading = donor.ask(EVERYTHING, peer=peer)
    await anext(reading)
    return reading


@pytest.mark.parametrize(
    ("kind", "epochs"), [(ExactDonor, module.MOST_PAST_EXACT + 1), (Donor, module.MOST_PAST + 1)]
)
async def test_a_reader_that_stalls_keeps_no_newcomer_at_a_past_epoch(
    kind: type[Donor], epochs: int
) -> None:
    donor = kind()
    stalled = await begun(donor, peer=1)
    donor.epoch += epochs
    donor.state.trial_step()
    header, sent = await answer(donor.ask(EVERYTHING, peer=2))
    assert (header.epoch, sent) == (donor.epoch, donor.state.content())
    await stalled.aclose()


async def test_a_download_goes_on_with_the_snapshot_that_it_began_with() -> None:
    donor = ExactDonor()
    before = donor.state.content()
    reading = await begun(donor, peer=1)
    donor.epoch += module.MOST_PAST_EXACT + 1
    donor.state.trial_step()
    await answer(donor.ask(EVERYTHING, peer=2))
    assert b"".join([each.metadata async for each in reading]) == before
    assert donor._older is None  # nobody reads it any more


async def test_there_are_never_more_than_two_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    donor = ExactDonor()
    monkeypatch.setattr(places, "TRIAL_SECONDS", 1e-9)
    monkeypatch.setattr(places, "SLOWEST", math.inf)  # all stall
    readings = []
    for peer in range(4):
        readings.append(await begun(donor, peer=peer))
        donor.epoch += module.MOST_PAST_EXACT + 1
    assert donor.snapshots == 4
    sent = [len([each async for each in reading]) for reading in readings]
    assert sent == [0, 0, 1, 1]


async def test_a_past_snapshot_is_not_replaced_while_somebody_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    donor = Donor()
    readings = []
    for peer in range(2):
        readings.append(await begun(donor, peer=peer))
        donor.epoch += module.MOST_PAST + 1
    header, _ = await answer(donor.ask(EVERYTHING, peer=2))
    assert header.refusal == StateRefusal.BUSY
    monkeypatch.setattr(places, "TRIAL_SECONDS", 1e-9)
    monkeypatch.setattr(places, "SLOWEST", math.inf)  # now both have stalled for too long
    header, _ = await answer(donor.ask(EVERYTHING, peer=2))
    assert (header.refusal, header.epoch) == ("", donor.epoch)
    assert [each async for each in readings[0]] == []
    await readings[1].aclose()


async def test_only_who_really_reads_keeps_a_snapshot_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    donor = Donor()
    reading = await begun(donor, peer=1)
    await answer(donor.ask((4, 8), peer=2))  # goes on where it broke off
    assert donor.snapshots == 1
    monkeypatch.setattr(places, "TRIAL_SECONDS", 1e-9)
    monkeypatch.setattr(places, "SLOWEST", math.inf)
    await answer(donor.ask((4, 8), peer=2))
    assert donor.snapshots == 2
    await reading.aclose()


async def test_who_hangs_up_has_the_state_copied_once() -> None:
    donor = Donor()
    donor.may_copy.clear()
    for peer in range(3):
        calling = asyncio.create_task(begun(donor, peer=peer))
        await donor.copies.wait()
        await asyncio.sleep(0)  # it waits as well now
        await end(calling)
    donor.may_copy.set()
    await answer(donor.ask(EVERYTHING, peer=9))
    assert donor.snapshots == 1


async def test_who_lost_its_place_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TRIAL_SECONDS", 1e-9)
    monkeypatch.setattr(places, "BRISK", math.inf)
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    donor = Donor()
    readings = [await begun(donor, peer=number) for number in range(MOST_DOWNLOADS)]
    donor._places.take(PeerID(b"\x12\x20" + bytes([99]) * 32))
    for reading in readings[1:]:
        await reading.aclose()
    snapshot, donor._places._places = donor._snapshot, {}
    donor._forget_snapshot()
    assert snapshot is not None
    assert snapshot.content is None


async def test_plain_peers_share_the_snapshot_and_the_places() -> None:
    donor = Donor()
    reading = donor.ask_as_hivemind(peer=1)
    first = await anext(reading)
    assert MSGPackSerializer.loads(first.metadata)["epoch"] == EPOCH
    assert [each async for each in donor.ask_as_hivemind(peer=1)] == []  # it has a place
    await answer(donor.ask(EVERYTHING, peer=2))
    assert donor.snapshots == 1
    parts = [first, *[each async for each in reading]]
    tensors = [deserialize_torch_tensor(each.tensor_part) for each in parts]
    assert [each.dtype for each in tensors] == [each.dtype for each in donor.state.tensors]
    assert donor.state.layout.pack(tensors) == donor.state.content()
    sent = sum(len(each.tensor_part.buffer) for each in parts)
    assert donor.traffic.sent == sent + len(donor.state.content())
    assert donor.traffic.sent_in_rounds == 0


async def test_plain_peers_get_nothing_where_all_places_are_taken() -> None:
    donor = Donor()
    readings = [donor.ask_as_hivemind(peer=number) for number in range(MOST_DOWNLOADS)]
    for reading in readings:
        await anext(reading)
    assert [each async for each in donor.ask_as_hivemind(peer=MOST_DOWNLOADS)] == []
    assert donor.snapshots == 1
    for reading in readings:
        await reading.aclose()


async def reading_on(replies: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """The rest of a reply, after a header."""
    yield Header(epoch=0, size=0).pack()
    async for each in replies:
        yield each


async def test_places_are_for_different_peers() -> None:
    donor = Donor()
    readings = [donor.ask((0, 8), peer=number) for number in range(MOST_DOWNLOADS)]
    for reading in readings:
        await anext(reading)
    for peer in (0, MOST_DOWNLOADS):  # who has a place, and one too many
        header, _ = await answer(donor.ask((0, 8), peer=peer))
        assert header.refusal == StateRefusal.BUSY
    for reading in readings:
        await reading.aclose()
    header, _ = await answer(donor.ask((0, 8)))
    assert header.refusal == ""


async def test_who_takes_nothing_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TRIAL_SECONDS", 1e-9)
    monkeypatch.setattr(places, "BRISK", math.inf)
    donor = Donor()
    readings = [donor.ask((0, 8), peer=number) for number in range(MOST_DOWNLOADS)]
    for reading in readings:
        await anext(reading)
    header, _ = await answer(donor.ask((0, 8), peer=MOST_DOWNLOADS))
    assert header.refusal == ""
    assert [each async for each in readings[0]] == []
    for reading in readings[1:]:
        await reading.aclose()


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (Wanted(layout="other", ranges=((0, 1),)).pack(), StateRefusal.OTHER_MODEL),
        (type(Wanted(layout="", ranges=()).pack())(metadata=b"\xc1"), StateRefusal.MALFORMED),
        (type(Wanted(layout="", ranges=()).pack())(metadata=bytes(5000)), StateRefusal.MALFORMED),
    ],
    ids=["other model", "garbage", "long"],
)
async def test_what_makes_no_sense_is_refused(request_: Any, refusal: StateRefusal) -> None:
    donor = Donor()
    peer_id = PeerID(b"\x12\x20" + bytes(32))
    context = P2PContext(handle_name="", local_id=peer_id, remote_id=peer_id)
    header, sent = await answer(donor.rpc_send_state(request_, context))  # type: ignore[arg-type]
    assert (header.refusal, sent) == (refusal, b"")


async def test_unwilling_donor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Donor, "allow_state_sharing", False)
    header, _ = await answer(Donor().ask((0, 8)))
    assert header.refusal == StateRefusal.UNWILLING
