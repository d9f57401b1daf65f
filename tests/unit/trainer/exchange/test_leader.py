"""When a leader fixes its list, and whom it has room for; over real streams, without p2pd."""

import asyncio
import functools
from collections.abc import Callable, Collection
from contextlib import asynccontextmanager
from typing import AsyncIterator  # noqa: UP035

import pytest
from hivemind.utils.crypto import RSAPrivateKey

from app.organiser.admission import OPEN
from app.p2p.sightings import PartFault
from app.trainer.exchange import leader as module
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.leader import LedRound
from app.trainer.exchange.offers import OwnKey
from app.trainer.exchange.rules import ExchangeRules, Waits
from app.trainer.exchange.streams import LostError, Stream
from app.trainer.exchange.wire import PIECE_BYTES, Refused, SendFrom, SignedOffer
from tests.support.training.exchanges import served

EPOCH = 7
BLOB = bytes(range(256)) * 2000
KEYS = [OwnKey(RSAPrivateKey()) for _ in range(4)]
OURS, *OTHERS = KEYS


class Led:
    """A round that we lead, and what became of it."""

    def __init__(
        self,
        *,
        known: Collection[OwnKey] = (),
        gather_seconds: float = 0.0,
        silence: float = 60.0,
        word: float = 5.0,
    ) -> None:
        """silence: longer than a busy machine may take for any upload, but where it is tried."""
        self.faults: list[tuple[str, PartFault]] = []
        rules = ExchangeRules(
            run_id="run",
            admission=OPEN,
            check=lambda blob: None,
            most_bytes=len(BLOB),
            most_weight=1.0,
            gather_seconds=gather_seconds,
            round_seconds=60.0,
            waits=Waits(silence=silence, word=word),
        )
        faults = Faults(lambda _epoch, each: self.faults.append((each.peer_id, each.fault)))
        ids = frozenset(key.peer_id for key in known)
        self.round = LedRound(EPOCH, own_id=OURS.peer_id, known=ids, rules=rules, faults=faults)
        self.running = asyncio.create_task(self.round.run())

    def enter(self, expected: Collection[OwnKey] = ()) -> None:
        self.round.enter(offer_of(OURS), BLOB, [key.peer_id for key in expected])

    async def members(self) -> set[str]:
        async with asyncio.timeout(20):
            return set((await self.round.fixed).offers)

    @asynccontextmanager
    async def serving(self, key: OwnKey) -> AsyncIterator[Stream]:
        """A member's end of a stream on which it has offered its blob."""

        async def serve(stream: Stream) -> None:
            await self.round.serve(stream, offer_of(key))

        async with served(serve, peers=(key.peer_id, OURS.peer_id), silence=60.0) as end:
            yield end

    async def take(self, key: OwnKey) -> None:
        """A member offers its blob, and sends it."""
        async with self.serving(key) as stream:
            assert await stream.receive(SendFrom | Refused) == SendFrom(start=0)
            await stream.send_blob(memoryview(BLOB))
            upload = self.round._uploads[key.peer_id]
            await until(lambda: upload.is_settled)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  a check in a thread has no event
            await asyncio.sleep(0.001)


@functools.cache
def offer_of(key: OwnKey) -> SignedOffer:
    return key.offer(BLOB, run_id="run", epoch=EPOCH, weight=1.0, serves=True)


async def test_the_list_is_fixed_as_soon_as_all_are_here() -> None:
    led = Led(gather_seconds=3600.0)
    led.enter(OTHERS[:2])
    await led.take(OTHERS[0])
    assert not led.round.fixed.done()
    await led.take(OTHERS[1])
    assert await led.members() == {key.peer_id for key in (OURS, *OTHERS[:2])}


async def test_one_that_never_comes_is_waited_for_as_long_as_gathering_takes() -> None:
    led = Led(gather_seconds=0.5)
    led.enter(OTHERS[:1])
    assert await led.members() == {OURS.peer_id}
    assert led.faults == []


async def test_a_few_that_come_long_before_us_cannot_close_the_round() -> None:
    led = Led(known=OTHERS)
    await led.take(OTHERS[0])
    assert not led.round._has_begun
    await led.take(OTHERS[1])  # now more than half of them are here
    assert await led.members() == {key.peer_id for key in OTHERS[:2]}
    led.enter()  # too late for ours
    assert await led.members() == {key.peer_id for key in OTHERS[:2]}


@pytest.mark.parametrize("known", [1, 2])
async def test_one_alone_cannot_close_the_round(known: int) -> None:
    led = Led(known=OTHERS[:known])
    await led.take(OTHERS[0])
    assert not led.round._has_begun
    led.enter()
    assert await led.members() == {OURS.peer_id, OTHERS[0].peer_id}


async def test_strangers_cannot_fill_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STRANGERS", 1)
    led = Led(known=OTHERS[:1])
    await led.take(OTHERS[1])
    async with led.serving(OTHERS[2]) as stream:
        assert await stream.receive(SendFrom | Refused) == Refused(reason="full")
    await led.take(OTHERS[0])
    led.running.cancel()


async def test_strangers_cannot_close_the_round() -> None:
    led = Led(known=OTHERS[:1])
    await led.take(OTHERS[1])
    await led.take(OTHERS[2])
    assert not led.round._has_begun
    led.running.cancel()


async def test_a_member_that_is_too_slow_for_the_round_is_left_out() -> None:
    led = Led(gather_seconds=3600.0, silence=0.1)
    led.enter(OTHERS[:1])
    async with led.serving(OTHERS[0]) as stream:
        await stream.receive(SendFrom)
        while not led.round.fixed.done():  # one byte after the other, so it is never silent
            await stream.send_blob(memoryview(b"x"))
            await asyncio.sleep(0.001)
        assert await led.members() == {OURS.peer_id}
    assert led.faults == [(OTHERS[0].peer_id, PartFault.SILENT)]


async def test_of_slow_uploads_one_is_left_out_at_a_time() -> None:
    """Our own line may be what is slow."""
    led = Led(gather_seconds=3600.0)
    size = len(BLOB)
    for key, part in zip(OTHERS, (0.05, 0.20, 0.25), strict=True):
        upload = module._Upload(offer=offer_of(key), began_at=0.0, moved_at=100.0)
        upload.moved = round(part * size)
        led.round._uploads[key.peer_id] = upload
    # 0.1, 0.5 and 0.67 of what is missing are due
    led.round._drop_hopeless(100.0, 200.0)
    assert [led.round._uploads[key.peer_id].is_out for key in OTHERS] == [True, False, False]
    led.round._drop_hopeless(100.0, 200.0)
    assert [led.round._uploads[key.peer_id].is_out for key in OTHERS] == [True, True, False]
    led.running.cancel()


async def test_a_broken_upload_goes_on_where_it_was() -> None:
    led = Led(gather_seconds=3600.0)
    led.enter(OTHERS[:1])
    async with led.serving(OTHERS[0]) as stream:
        await stream.receive(SendFrom)
        await stream.send_blob(memoryview(BLOB)[: PIECE_BYTES + 1])
        await until(lambda: led.round._uploads[OTHERS[0].peer_id].received == 1)
    async with led.serving(OTHERS[0]) as stream:
        assert await stream.receive(SendFrom) == SendFrom(start=1)
        await stream.send_blob(memoryview(BLOB)[PIECE_BYTES:])
        assert await led.members() == {OURS.peer_id, OTHERS[0].peer_id}


async def test_who_hung_up_while_it_waits_for_the_list_keeps_no_place() -> None:
    led = Led(gather_seconds=3600.0, word=0.01)
    led.enter(OTHERS[:2])
    has_ended = asyncio.Event()

    async def serve(stream: Stream) -> None:
        with pytest.raises(LostError):
            await led.round.serve(stream, offer_of(OTHERS[0]))
        has_ended.set()

    peers = OTHERS[0].peer_id, OURS.peer_id
    async with served(serve, peers=peers, silence=60.0) as stream:
        await stream.receive(SendFrom)
        await stream.send_blob(memoryview(BLOB))
        await until(lambda: led.round._uploads[OTHERS[0].peer_id].is_settled)
        stream.close()
        async with asyncio.timeout(10):
            await has_ended.wait()
    assert not led.round.fixed.done()
    await led.take(OTHERS[1])
    assert await led.members() == {key.peer_id for key in (OURS, *OTHERS[:2])}


async def test_whom_we_expect_takes_the_place_of_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_MEMBERS", 2)
    led = Led(gather_seconds=3600.0)
    led.enter(OTHERS[:1])
    await led.take(OTHERS[1])
    async with led.serving(OTHERS[2]) as stream:
        assert await stream.receive(SendFrom | Refused) == Refused(reason="full")
    await led.take(OTHERS[0])
    assert await led.members() == {OURS.peer_id, OTHERS[0].peer_id}
