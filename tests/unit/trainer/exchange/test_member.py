"""What hostile peers can do to a member, spoken by hand over a p2pd of their own."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, AsyncIterator  # noqa: UP035  as hivemind's

import msgspec
import pytest
from hivemind.p2p import P2P

from app.organiser.admission import Admission
from app.p2p.calls import quiet_lost_connections
from app.p2p.run_records import Identity
from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import STRIKES
from app.trainer.exchange.calling import FETCH, OFFER, handler_name
from app.trainer.exchange.exchange import ExchangeError, Swap
from app.trainer.exchange.fetching import MOST_FETCHERS, MOST_TIMES
from app.trainer.exchange.member import STREAMS_A_PEER
from app.trainer.exchange.offers import OwnKey
from app.trainer.exchange.streams import Line, LostError, Stream, opened
from app.trainer.exchange.wire import (
    PIECE_BYTES,
    AskLeader,
    AskList,
    AskNews,
    AskPiece,
    AwaitList,
    Having,
    LeaderIs,
    Refused,
    RoundList,
    SendFrom,
    SignedOffer,
)
from tests.support.organiser.organisers import admission_by, organiser, sealed
from tests.support.training.exchanges import (
    BAD,
    MOST_BYTES,
    PATIENCE,
    RUN,
    Peer,
    Swarm,
    epoch_led_by,
)

BLOB = bytes(range(256)) * 2000
"""Two pieces."""

Make = Callable[[list[SignedOffer]], list[SignedOffer]]


class Hostile:
    """A peer that does what it wants."""

    def __init__(self, p2p: P2P, identity: Identity) -> None:
        self.p2p = p2p
        self.key = OwnKey(identity.key)
        self.peer_id = identity.peer_id

    def offer(self, epoch: int, blob: bytes = BLOB, weight: float = 1.0) -> SignedOffer:
        return self.key.offer(blob, run_id=RUN, epoch=epoch, weight=weight, serves=True)

    def call(self, peer: Peer, name: str = OFFER) -> AbstractAsyncContextManager[Stream]:
        return opened(
            self.p2p,
            peer.peer_id,
            handler_name(RUN, name),
            line=Line(),
            answer=PATIENCE,
            silence=PATIENCE,
        )

    async def answer(self, name: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        """Be called by others."""

        async def handle(info: Any, reader: Any, writer: Any) -> None:
            stream = Stream(
                reader, writer, peer_id=info.peer_id.to_base58(), line=Line(), silence=PATIENCE
            )
            try:
                await handler(stream)
            except (LostError, asyncio.CancelledError):
                pass
            finally:
                stream.close()

        await self.p2p.add_binary_stream_handler(handler_name(RUN, name), handle)

    async def answer_for(self, epoch: int) -> asyncio.Event:
        """Give a list with ourselves alone to whoever asks for that of an epoch, and no blobs; set
        when somebody has got it."""
        has_lied = asyncio.Event()

        async def lie(stream: Stream) -> None:
            if isinstance(await stream.receive(AskList | AskNews), AskList):
                await stream.send(RoundList(epoch=epoch, offers=(self.offer(epoch),)).pack())
                has_lied.set()

        await self.answer(FETCH, lie)
        return has_lied

    async def lead(
        self, make: Make, *, served: bytes = b"", serving: Callable[[], None] = lambda: None
    ) -> None:
        """Lead every round, with a list made of the offer of the one member that comes. served: as
        each piece that is asked for. serving: called before."""

        async def take(stream: Stream) -> None:
            asked = await stream.receive(AskLeader)
            await stream.send(LeaderIs(leader=self.peer_id).pack())
            offer = await stream.receive(SignedOffer, most=2**20)
            await stream.send(SendFrom(start=offer.pieces).pack())
            await stream.send(AwaitList().pack())
            listed = tuple(make([offer]))
            await stream.send(RoundList(epoch=asked.epoch, offers=listed).pack())
            await asyncio.sleep(3600)

        async def serve(stream: Stream) -> None:
            bits = b"\x03" if len(served) == PIECE_BYTES else b"\x01"
            asked = await stream.receive(AskNews)
            while True:
                await stream.send(Having(bits=bits, follows=isinstance(asked, AskPiece)).pack())
                if isinstance(asked, AskPiece):
                    serving()
                    await stream.send_blob(memoryview(served))
                asked = await stream.receive(AskNews | AskPiece)

        await self.answer(OFFER, take)
        await self.answer(FETCH, serve)


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    quiet_lost_connections(asyncio.get_running_loop())
    made = Swarm(tmp_path / "keys")
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
async def member(swarm: Swarm) -> Peer:
    return await asyncio.to_thread(swarm.add)


@pytest.fixture
async def hostile(swarm: Swarm, member: Peer) -> AsyncIterator[Hostile]:
    identity = swarm.identity()
    p2p = await swarm.daemon(identity)
    yield Hostile(p2p, identity)
    await p2p.shutdown()


@pytest.fixture
async def epoch(swarm: Swarm, member: Peer, hostile: Hostile) -> int:
    """The next one, which the member leads."""
    found = epoch_led_by(member.peer_id, [hostile.peer_id])
    await begin(swarm, member, found)
    return found


async def begin(swarm: Swarm, member: Peer, epoch: int) -> None:
    """Let a member have had its first round, alone, the one before an epoch."""
    await asyncio.wrap_future(swarm.swap(member, BLOB, epoch=epoch - 1, others=[]))


def swapping(swarm: Swarm, member: Peer, hostile: Hostile, epoch: int) -> "asyncio.Future[Swap]":
    future = swarm.swap(member, BLOB[::-1], epoch=epoch, others=[hostile.peer_id])
    return asyncio.wrap_future(future)


# --- as a member of a round that we lead


async def accepted(
    stream: Stream, offer: SignedOffer, epoch: int | None = None
) -> SendFrom | Refused:
    await stream.send(AskLeader(epoch=epoch or offer.epoch, skipped=()).pack())
    assert isinstance(await stream.receive(LeaderIs), LeaderIs)
    await stream.send(offer.pack())
    answer: SendFrom | Refused = await stream.receive(SendFrom | Refused)
    return answer


async def test_a_round_with_a_peer_that_behaves(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int
) -> None:
    swap = swapping(swarm, member, hostile, epoch)
    async with hostile.call(member) as stream:
        answer = await accepted(stream, hostile.offer(epoch))
        assert answer == SendFrom(start=0)
        await stream.send_blob(memoryview(BLOB))
        brought = await swap
        assert {each.blob for each in brought.contributions} == {BLOB, BLOB[::-1]}
        listed = None
        while not isinstance(listed, RoundList):
            listed = await stream.receive(RoundList | AwaitList, most=2**20)
        assert hostile.offer(epoch).hashes in {each.hashes for each in listed.offers}
    assert member.faults == []


def forged(hostile: Hostile, epoch: int, what: str) -> SignedOffer:
    honest = hostile.offer(epoch)
    match what:
        case "weight":
            return hostile.offer(epoch, weight=1e30)
        case "no number":
            return hostile.offer(epoch, weight=float("nan"))
        case "oversize":
            return hostile.offer(epoch, bytes(MOST_BYTES + 1))
        case "unsigned":
            return msgspec.structs.replace(honest, weight=2.0)
        case "another epoch":
            return hostile.offer(epoch + 1)
        case "empty":
            return hostile.offer(epoch, b"")
        case "hashes":
            return msgspec.structs.replace(honest, hashes=honest.hashes * 2)
    raise ValueError(what)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("weight", PartFault.WEIGHT),
        ("no number", PartFault.WEIGHT),
        ("oversize", PartFault.SHAPE),
        ("unsigned", PartFault.SHAPE),
        ("another epoch", PartFault.SHAPE),
        ("empty", PartFault.SHAPE),
        ("hashes", PartFault.SHAPE),
    ],
)
async def test_an_offer_that_nobody_can_make_is_refused_and_named(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int, what: str, fault: PartFault
) -> None:
    async with hostile.call(member) as stream:
        assert isinstance(await accepted(stream, forged(hostile, epoch, what), epoch), Refused)
    assert member.faults == [(hostile.peer_id, fault)]


@pytest.mark.parametrize("sent", [BLOB[::-1], BAD + BLOB], ids=["wrong hash", "unreadable"])
async def test_a_blob_that_is_not_what_it_should_be_is_left_out(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int, sent: bytes
) -> None:
    swap = swapping(swarm, member, hostile, epoch)
    async with hostile.call(member) as stream:
        await accepted(stream, hostile.offer(epoch, sent if sent.startswith(BAD) else BLOB))
        with contextlib.suppress(LostError):  # the leader may hang up before all was taken
            await stream.send_blob(memoryview(sent))
        brought = await swap
    assert [each.peer_id for each in brought.contributions] == [member.peer_id]
    assert member.faults == [(hostile.peer_id, PartFault.SHAPE)]


async def test_who_offers_and_sends_nothing_is_waited_for_no_longer_than_silence(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int
) -> None:
    async with hostile.call(member) as stream:
        await accepted(stream, hostile.offer(epoch))
        await stream.send_blob(memoryview(BLOB)[:100])
        member.lose_patience()
        brought = await swapping(swarm, member, hostile, epoch)
    assert [each.peer_id for each in brought.contributions] == [member.peer_id]
    assert member.faults == [(hostile.peer_id, PartFault.SILENT)]


async def test_one_offer_counts_and_a_broken_upload_goes_on(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int
) -> None:
    swap = swapping(swarm, member, hostile, epoch)
    offer = hostile.offer(epoch)
    async with hostile.call(member) as first, hostile.call(member) as second:
        await accepted(first, offer)
        await first.send_blob(memoryview(BLOB)[:PIECE_BYTES])
        other = hostile.offer(epoch, BLOB + BLOB)
        assert isinstance(await accepted(second, other), Refused)
    answer = SendFrom(start=0)
    while answer != SendFrom(start=1):  # until the first piece has been taken
        async with hostile.call(member) as stream:
            answer = await accepted(stream, offer)  # type: ignore[assignment]
            if answer == SendFrom(start=1):
                await stream.send_blob(memoryview(BLOB)[PIECE_BYTES:])
                assert len((await swap).contributions) == 2


async def test_a_flood_of_calls_leaves_room_for_others(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    honest = await asyncio.to_thread(swarm.add)
    epoch = epoch_led_by(member.peer_id, [honest.peer_id])
    await begin(swarm, member, epoch)
    flood = [hostile.call(member) for _ in range(3 * STREAMS_A_PEER)]
    streams = [await each.__aenter__() for each in flood]
    refused = 0
    for stream in streams:
        try:
            await stream.send(AskLeader(epoch=epoch, skipped=()).pack())
            await stream.receive(LeaderIs)
        except LostError:
            refused += 1
    assert refused == 2 * STREAMS_A_PEER
    swaps = [asyncio.wrap_future(swarm.swap(each, BLOB, epoch=epoch)) for each in swarm.peers]
    assert len((await swaps[0]).contributions) == len((await swaps[1]).contributions) == 2
    for each in flood:
        await each.__aexit__(None, None, None)


async def test_who_is_evicted_is_not_answered(
    swarm: Swarm, member: Peer, hostile: Hostile, epoch: int
) -> None:
    for earlier in range(STRIKES):
        swap = Swap(contributions=(), epoch=epoch - 1 - earlier)
        member.exchange.judge(swap, {hostile.peer_id: PartFault.SHAPE})
    async with hostile.call(member) as stream:
        with pytest.raises(LostError):
            await accepted(stream, hostile.offer(epoch))


async def test_rounds_that_are_not_now_are_refused(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    async def is_led(epoch: int) -> bool:
        async with hostile.call(member) as stream:
            await stream.send(AskLeader(epoch=epoch, skipped=()).pack())
            return isinstance(await stream.receive(LeaderIs | Refused), LeaderIs)

    assert not await is_led(7)  # before its first round
    await begin(swarm, member, 8)
    led = [False, True, True, True, False]  # also the one that it had alone, for who is late
    assert [await is_led(epoch) for epoch in (6, 7, 8, 9, 10)] == led


# --- asked for a list by who takes no part


async def test_a_list_that_leaves_somebody_out_is_outvoted(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    other, newcomer = [await asyncio.to_thread(swarm.add) for _ in range(2)]
    honest = await rounds_of(swarm, member, other)[0]
    await hostile.answer_for(1)
    fetched = await fetching(swarm, newcomer, member, other, hostile)
    assert fetched.contributions == honest.contributions


async def test_a_liar_is_not_believed_for_being_first(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    other, newcomer = [await asyncio.to_thread(swarm.add) for _ in range(2)]
    has_lied = await hostile.answer_for(1)
    fetched = fetching(swarm, newcomer, member, other, hostile)
    await has_lied.wait()
    honest = await rounds_of(swarm, member, other)[0]
    assert (await fetched).contributions == honest.contributions


def rounds_of(swarm: Swarm, *members: Peer) -> "list[asyncio.Future[Swap]]":
    """Their round of epoch 1."""
    return [asyncio.wrap_future(swarm.swap(each, BLOB, others=members)) for each in members]


def fetching(swarm: Swarm, peer: Peer, *members: Peer | Hostile) -> "asyncio.Future[Swap]":
    """A peer that takes no part in it asks for it."""
    ids = [each.peer_id for each in members]
    fetch = swarm.pool.submit(peer.exchange.fetch, epoch=1, members=ids, seconds=PATIENCE)
    return asyncio.wrap_future(fetch)


async def test_nonsense_for_a_list_is_named_and_of_no_use(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    async def lie(stream: Stream) -> None:
        await stream.receive(AskList)
        await stream.send(b"nonsense")

    await hostile.answer(FETCH, lie)
    with pytest.raises(ExchangeError):
        await fetching(swarm, member, hostile)
    assert member.faults == [(hostile.peer_id, PartFault.SHAPE)]


async def test_a_peer_gets_a_list_a_few_times_only(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    await begin(swarm, member, 8)

    async def listed() -> bytes:
        async with hostile.call(member, FETCH) as stream:
            await stream.send(AskList(epoch=7).pack())
            return await stream.receive_packed(seconds=PATIENCE, most=2**20)

    assert len({await listed() for _ in range(MOST_TIMES)}) == 1
    with pytest.raises(LostError):
        await listed()


async def test_strangers_that_ask_for_a_list_shut_no_member_out(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    await begin(swarm, member, 8)
    this = member.exchange._member._rounds.of(7)
    assert this is not None
    this.holding.result().listed.update(f"stranger {number}" for number in range(MOST_FETCHERS))
    this.holding.result().offers[hostile.peer_id] = hostile.offer(7)
    async with hostile.call(member, FETCH) as stream:
        await stream.send(AskList(epoch=7).pack())
        assert await stream.receive_packed(seconds=PATIENCE, most=2**20)


async def test_a_message_longer_than_any_is_not_read(member: Peer, hostile: Hostile) -> None:
    async with hostile.call(member) as stream:
        await stream._write((2**31).to_bytes(4, "big"))
        with pytest.raises(LostError):
            await stream.receive(LeaderIs)
    assert member.faults == [(hostile.peer_id, PartFault.SHAPE)]


async def spoken(stream: Stream, packed: bytes) -> None:
    await stream.send(packed)
    await stream.receive(LeaderIs | Having | Refused)


async def test_a_stranger_is_not_heard_in_a_closed_swarm(tmp_path: Path) -> None:
    quiet_lost_connections(asyncio.get_running_loop())
    swarm, key = Swarm(tmp_path / "keys"), organiser()
    identity, stranger = swarm.identity(), swarm.identity()
    admission: Admission = admission_by(key, tmp_path / "roster")
    assert admission.keep(sealed(key, identity.peer_id))
    member = await asyncio.to_thread(
        lambda: swarm.add(identity=identity, admission=admission, gather_seconds=0.5)
    )
    hostile = Hostile(await swarm.daemon(stranger), stranger)
    for name, message in (
        (OFFER, AskLeader(epoch=1, skipped=())),
        (FETCH, AskNews(epoch=1, digest=b"", known=-1)),
        (FETCH, AskList(epoch=1)),
    ):
        async with hostile.call(member, name) as stream:
            with pytest.raises(LostError):
                await spoken(stream, message.pack())
    swap = await swapping(swarm, member, hostile, 1)
    assert [each.peer_id for each in swap.contributions] == [member.peer_id]
    await asyncio.to_thread(swarm.close)
    await hostile.p2p.shutdown()


# --- as the leader of a round of ours


def nonsense(hostile: Hostile, epoch: int) -> dict[str, Make]:
    """What a leader may list, of the offers that it got."""
    ours = hostile.offer(epoch)

    def ordered(offers: list[SignedOffer]) -> list[SignedOffer]:
        return sorted(offers, key=lambda each: peer_id_in(each, hostile))

    return {
        "itself twice": lambda offers: [*ordered([*offers, ours]), ours],
        "no order": lambda offers: ordered([*offers, ours])[::-1],
        "a changed weight": lambda offers: [msgspec.structs.replace(offers[0], weight=9.0)],
        "a weight that nobody has": lambda _: [hostile.offer(epoch, weight=1e9)],
        "another epoch": lambda _: [hostile.offer(epoch + 1)],
        "too many": lambda _: [ours] * 65,
        "oversize": lambda _: [hostile.offer(epoch, bytes(MOST_BYTES + 1))],
    }


def peer_id_in(offer: SignedOffer, hostile: Hostile) -> str:
    from app.trainer.exchange.offers import peer_id_of

    return peer_id_of(offer.key)


@pytest.mark.parametrize(
    "what",
    [
        "itself twice",
        "no order",
        "a changed weight",
        "a weight that nobody has",
        "another epoch",
        "too many",
        "oversize",
    ],
)
async def test_a_list_that_no_honest_leader_makes_fails_the_round(
    swarm: Swarm, member: Peer, hostile: Hostile, what: str
) -> None:
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id])
    await hostile.lead(nonsense(hostile, epoch)[what])
    with pytest.raises(ExchangeError):
        await swapping(swarm, member, hostile, epoch)
    assert member.faults == [(hostile.peer_id, PartFault.GROUP)]


async def test_a_leader_that_leaves_out_us_and_most_others_fails_the_round(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    others = [hostile.peer_id, *(swarm.identity().peer_id for _ in range(2))]
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id, *others])
    await hostile.lead(lambda _: [hostile.offer(epoch)], served=BLOB)
    with pytest.raises(ExchangeError):
        await asyncio.wrap_future(swarm.swap(member, BLOB[::-1], epoch=epoch, others=others))
    assert member.faults == [(hostile.peer_id, PartFault.GROUP)]


async def test_wrong_bytes_from_the_only_source_fail_the_round(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id])
    await hostile.lead(
        lambda _: [hostile.offer(epoch)], served=bytes(PIECE_BYTES), serving=member.lose_patience
    )
    with pytest.raises(ExchangeError):
        await swapping(swarm, member, hostile, epoch)
    assert member.faults == [(hostile.peer_id, PartFault.SHAPE)]


async def test_a_leader_that_lists_what_cannot_be_read_fails_the_round(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id])
    bad = BAD + bytes(1000)
    await hostile.lead(lambda _: [hostile.offer(epoch, bad)], served=bad)
    with pytest.raises(ExchangeError):
        await swapping(swarm, member, hostile, epoch)
    assert member.faults == [(hostile.peer_id, PartFault.GROUP)]


async def test_a_leader_that_says_nothing_is_not_waited_for(
    swarm: Swarm, member: Peer, hostile: Hostile
) -> None:
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id])

    async def take(stream: Stream) -> None:
        await stream.receive(AskLeader)
        member.lose_patience()  # in the next call, when it knows who leads
        await stream.send(LeaderIs(leader=hostile.peer_id).pack())
        await asyncio.sleep(3600)

    await hostile.answer(OFFER, take)
    with pytest.raises(ExchangeError):
        await swapping(swarm, member, hostile, epoch)
    assert member.faults == [(hostile.peer_id, PartFault.SILENT)]


async def test_a_leader_that_only_says_that_it_lives_costs_a_round_and_no_more(
    swarm: Swarm, tmp_path: Path
) -> None:
    member = await asyncio.to_thread(lambda: swarm.add(round_seconds=3.0))
    identity = swarm.identity()
    hostile = Hostile(await swarm.daemon(identity), identity)
    epoch = epoch_led_by(hostile.peer_id, [member.peer_id])

    async def take(stream: Stream) -> None:
        await stream.receive(AskLeader)
        await stream.send(LeaderIs(leader=hostile.peer_id).pack())
        offer = await stream.receive(SignedOffer, most=2**20)
        await stream.send(SendFrom(start=offer.pieces).pack())
        while True:
            await stream.send(AwaitList().pack())
            await asyncio.sleep(0.2)

    await hostile.answer(OFFER, take)
    swap = swapping(swarm, member, hostile, epoch)
    with pytest.raises(ExchangeError):
        async with asyncio.timeout(PATIENCE):
            await swap
    await hostile.p2p.shutdown()


async def test_the_digest_of_a_list_is_that_of_its_bytes(
    member: Peer, hostile: Hostile, epoch: int
) -> None:
    """Whoever has another list gets nothing from us."""
    async with hostile.call(member) as stream:
        await accepted(stream, hostile.offer(epoch, BLOB[:10]))
        await stream.send_blob(memoryview(BLOB)[:10])
        async with hostile.call(member, FETCH) as fetching:
            digest = hashlib.sha256(b"another").digest()
            await fetching.send(AskNews(epoch=epoch, digest=digest, known=-1).pack())
            answer = await fetching.receive(Having | Refused)
            assert answer == Having(bits=b"", follows=False)  # there is no list yet
