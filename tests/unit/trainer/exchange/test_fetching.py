"""From whom pieces come, when sources are slow, lie or break; over real streams, without p2pd."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator  # noqa: UP035

import numpy as np
import pytest
from hivemind.utils.crypto import RSAPrivateKey

from app.organiser.admission import OPEN
from app.p2p.sightings import PartFault
from app.trainer.exchange.fetching import (
    MOST_FETCHERS,
    MOST_TIMES,
    FetchError,
    Fetching,
    serve_pieces,
)
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.offers import OwnKey
from app.trainer.exchange.rules import ExchangeRules, Waits
from app.trainer.exchange.streams import Line, LostError, Stream
from app.trainer.exchange.wire import PIECE_BYTES, AskNews, AskPiece, Having
from tests.support.training.exchanges import served

BLOBS = {name: name.encode() * (3 * PIECE_BYTES) for name in "abc"}
KEY = OwnKey(RSAPrivateKey())
OFFERS = {
    name: KEY.offer(blob, run_id="run", epoch=1, weight=1.0, serves=True)
    for name, blob in BLOBS.items()
}


def rules() -> ExchangeRules:
    return ExchangeRules(
        run_id="run",
        admission=OPEN,
        check=lambda blob: None,
        most_bytes=2**20,
        most_weight=1.0,
        gather_seconds=1.0,
        round_seconds=60.0,
        waits=Waits(silence=10.0, word=0.1, doubling=0.2),
    )


Source = Callable[[Stream], Coroutine[Any, Any, None]]


def holding(*names: str) -> Holding:
    """Of one who has some of the blobs."""
    return Holding(OFFERS, packed=b"list", blobs={name: BLOBS[name] for name in names})


class Swap:
    """One who fetches, and its sources."""

    def __init__(self, **sources: Source) -> None:
        self.sources = sources
        self.faults: list[tuple[str, PartFault]] = []
        self.holding = holding()
        self.rules = rules()

    def lose_patience(self) -> None:
        """Hope for half a second only, from now on."""
        object.__setattr__(self.rules.waits, "silence", 0.5)

    async def run(self) -> None:
        fetching = Fetching(
            self.holding,
            opened=self.opened,
            accuse=lambda peer_id, fault: self.faults.append((peer_id, fault)),
            epoch=1,
            rules=self.rules,
        )
        async with asyncio.timeout(60):
            await fetching.run(self.sources)

    @asynccontextmanager
    async def opened(self, source: str) -> AsyncIterator[Stream]:
        async with served(self.sources[source], peers=("us", source), silence=60.0) as end:
            yield end


def honest(held: Holding) -> Source:
    async def serve(stream: Stream) -> None:
        asked = await stream.receive(AskNews)
        await serve_pieces(stream, held, rules(), asked.known)

    return serve


async def hangs(stream: Stream) -> None:
    """Says that it has all, and sends none of it."""
    await stream.receive(AskNews)
    await stream.send(Having(bits=b"\xff\x01", follows=False).pack())
    await stream.receive(AskPiece)
    await stream.send(Having(bits=b"\xff\x01", follows=True).pack())
    while True:  # it is never silent, though
        await stream.send_blob(memoryview(b"x"))
        await asyncio.sleep(0.05)


async def test_each_gives_what_it_has() -> None:
    swap = Swap(one=honest(holding("a", "b")), other=honest(holding("c")))
    await swap.run()
    assert swap.holding.blobs == BLOBS


async def test_a_member_passes_on_what_it_has_just_got() -> None:
    passing = Swap(one=honest(holding("a", "b", "c")))
    swap = Swap(passing=honest(passing.holding))
    await asyncio.gather(swap.run(), passing.run())
    assert swap.holding.blobs == BLOBS


async def test_pieces_that_hang_come_from_another() -> None:
    swap = Swap(one=hangs, other=hangs, honest=honest(holding("a", "b", "c")))
    await swap.run()
    assert swap.holding.blobs == BLOBS


async def test_who_sends_wrong_bytes_is_named_and_left() -> None:
    lie = holding("a")
    lie._blobs = {"a": b"x" * (3 * PIECE_BYTES)}
    swap = Swap(liar=honest(lie), honest=honest(holding("a", "b", "c")))
    await swap.run()
    assert swap.holding.blobs == BLOBS
    assert set(swap.faults) == {("liar", PartFault.SHAPE)}


async def test_a_source_that_breaks_is_called_again() -> None:
    calls = 0
    all_held = holding("a", "b", "c")

    async def breaks(stream: Stream) -> None:
        nonlocal calls
        calls += 1
        if calls > 4:
            await honest(all_held)(stream)
        asked = await stream.receive(AskNews)
        await stream.send(Having(bits=all_held.bits(), follows=False).pack())
        asked = await stream.receive(AskPiece)
        await stream.send(Having(bits=all_held.bits(), follows=True).pack())
        await stream.send_blob(all_held.piece(asked.number))
        stream.close()

    swap = Swap(one=breaks)
    await swap.run()
    assert swap.holding.blobs == BLOBS
    assert calls > 4


async def test_what_nobody_has_fails() -> None:
    async def gone(stream: Stream) -> None:
        stream.close()

    swap = Swap(one=gone)
    swap.lose_patience()
    with pytest.raises(FetchError):
        await swap.run()


async def test_who_claims_to_have_what_it_does_not_give_is_left() -> None:
    async def boasts(stream: Stream) -> None:
        await stream.receive(AskNews)
        await stream.send(Having(bits=b"\xff\x01", follows=False).pack())
        await stream.receive(AskPiece)
        swap.lose_patience()
        await stream.send(Having(bits=b"", follows=False).pack())
        with pytest.raises(LostError):
            await stream.receive(AskPiece)

    swap = Swap(one=boasts)
    with pytest.raises(FetchError):
        await swap.run()
    assert set(swap.faults) == {("one", PartFault.SHAPE)}


async def test_nobody_gets_a_piece_again_and_again() -> None:
    swap = Swap(one=honest(holding("a")))
    async with swap.opened("one") as stream:
        await stream.send(AskNews(epoch=1, digest=swap.holding.digest, known=-1).pack())
        await stream.receive(Having)
        for _ in range(MOST_TIMES):
            await stream.send(AskPiece(number=0).pack())
            assert (await stream.receive(Having)).follows
            await stream.receive_blob(PIECE_BYTES)
        await stream.send(AskPiece(number=0).pack())
        with pytest.raises(LostError):
            await stream.receive(Having)


async def test_what_was_told_is_not_told_again_at_once() -> None:
    """Else one stream could keep us busy with questions."""
    asked = AskNews(epoch=1, digest=holding().digest, known=-1)
    waited: list[float] = []
    held = holding("a")

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(seconds)

    held.wait = wait  # type: ignore[method-assign]
    async with served(honest(held), peers=("one", "us"), silence=60.0) as stream:
        for times in (0, 1):
            await stream.send(asked.pack())
            await stream.receive(Having)
            assert bool(waited) == bool(times)


async def test_only_what_members_get_counts_as_sent_in_rounds() -> None:
    async def sent(peer_id: str) -> int:
        lines: list[Line] = []

        async def serve(stream: Stream) -> None:
            lines.append(stream._line)
            await honest(holding("a"))(stream)

        async with served(serve, peers=(peer_id, "us"), silence=60.0) as stream:
            await stream.send(AskNews(epoch=1, digest=b"", known=-1).pack())
            await stream.receive(Having)
            await stream.send(AskPiece(number=0).pack())
            await stream.receive(Having)
            await stream.receive_blob(PIECE_BYTES)
        assert lines[0].sent == PIECE_BYTES
        return lines[0].sent_to_members

    assert [await sent("b"), await sent("a stranger")] == [PIECE_BYTES, 0]


async def test_strangers_that_fetch_shut_no_member_out() -> None:
    held = holding("a", "b", "c")
    strangers = [f"stranger {number}" for number in range(MOST_FETCHERS)]
    held.given = {each: np.ones(held.pieces, np.uint8) for each in strangers}

    async def fetch(peer_id: str) -> None:
        async with served(honest(held), peers=(peer_id, "us"), silence=0.5) as stream:
            await stream.send(AskNews(epoch=1, digest=held.digest, known=-1).pack())
            await stream.receive(Having)
            await stream.send(AskPiece(number=0).pack())
            assert (await stream.receive(Having)).follows
            assert await stream.receive_blob(PIECE_BYTES) == BLOBS["a"][:PIECE_BYTES]

    for member in BLOBS:
        await fetch(member)
    with pytest.raises(LostError):
        await fetch("one stranger more")
