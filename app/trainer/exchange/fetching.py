"""Fetches the blobs of a list, in pieces, from all who have them.

Each member takes the piece that fewest others have, so that the members soon have something for
each other, and a slow line carries few pieces. A source that breaks is called again; one that
sends wrong bytes is left.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager

import numpy as np

from app.p2p.sightings import PartFault
from app.trainer.exchange.holding import Bits, Holding
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import LostError, NonsenseError, Stream
from app.trainer.exchange.wire import MOST_MEMBERS, AskNews, AskPiece, Having, Refused

STREAMS_A_SOURCE = 2
"""So that a far source has the next piece under way while we take this one."""

MOST_TIMES = 3
"""That a peer gets the same piece of us: it may break off, but it can't keep our line busy."""

MOST_FETCHERS = 2 * MOST_MEMBERS
"""Peers outside a list that get pieces of it: late members, and whoever else asks."""


class FetchError(Exception):
    """Nobody whom we can call has what is missing."""


class Fetching:
    """What is on its way to us."""

    def __init__(
        self,
        holding: Holding,
        *,
        opened: Callable[[str], AbstractAsyncContextManager[Stream]],
        accuse: Callable[[str, PartFault], None],
        epoch: int,
        rules: ExchangeRules,
    ) -> None:
        """opened: makes a stream to a source."""
        self._holding = holding
        self._opened = opened
        self._accuse = accuse
        self._epoch = epoch
        self._rules = rules
        self._known: dict[str, Bits] = {}  # what each source has
        self._flying: dict[int, dict[str, float]] = {}  # when each piece was asked of whom
        self._left: set[str] = set()
        self._streams: Counter[str] = Counter()  # to each source

    async def run(self, sources: Collection[str]) -> None:
        """Fetch all that is missing. Raises `FetchError`."""
        workers = [
            asyncio.create_task(self._work(source))
            for source in sources
            for _ in range(STREAMS_A_SOURCE)
        ]
        try:
            await self._until_complete()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _until_complete(self) -> None:
        waits, hopeful_at = self._rules.waits, time.monotonic()
        while not self._holding.is_complete:
            await self._holding.wait(waits.silence / 4)
            now = time.monotonic()
            if self._flying or any(map(self._is_useful, self._known)):
                hopeful_at = now
            elif now - hopeful_at > waits.silence:
                raise FetchError

    def _is_useful(self, source: str) -> bool:
        return bool((self._known[source] & ~self._holding.has).any())

    async def _work(self, source: str) -> None:
        waits, failures = self._rules.waits, 0
        while source not in self._left:
            before = self._holding.held
            self._streams[source] += 1
            try:
                async with self._opened(source) as stream:
                    await self._take_from(stream)
            except NonsenseError:
                self._left.add(source)
                self._accuse(source, PartFault.SHAPE)
            except LostError:
                failures = 1 if self._holding.held > before else failures + 1
            finally:
                self._streams[source] -= 1
                if not self._streams[source]:
                    self._known.pop(source, None)
            await asyncio.sleep(waits.silence / max(1.0, 40 / 2 ** min(failures, 10)))

    async def _take_from(self, stream: Stream) -> None:
        source = stream.peer_id
        await self._ask_news(stream, known=-1)
        while source not in self._left:
            number = self._next_from(source)
            if number is not None:
                await self._take(stream, number)
            elif self._is_useful(source):
                await self._holding.wait(self._rules.waits.doubling)
            else:
                await self._ask_news(stream, known=int(self._known[source].sum()))

    def _next_from(self, source: str) -> int | None:
        """The piece to ask for: the rarest that nobody sends us yet, or else one that has been on
        its way for long."""
        useful = self._known[source] & ~self._holding.has
        free = useful.copy()
        free[list(self._flying)] = False
        if free.any():
            candidates = np.flatnonzero(free)
            owners = np.sum([bits[candidates] for bits in self._known.values()], axis=0)
            return int(random.choice(candidates[owners == owners.min()]))
        since = time.monotonic() - self._rules.waits.doubling
        late = [
            number
            for number, asked in self._flying.items()
            if useful[number] and source not in asked and max(asked.values()) < since
        ]
        return min(late, key=lambda number: max(self._flying[number].values()), default=None)

    async def _take(self, stream: Stream, number: int) -> None:
        self._flying.setdefault(number, {})[stream.peer_id] = time.monotonic()
        try:
            await stream.send(AskPiece(number=number).pack())
            if not await self._receive_having(stream):
                raise NonsenseError(f"{stream.peer_id}: it hasn't the piece that it said it has")
            content = await stream.receive_blob(self._holding.size(number))
            if not self._holding.put(number, content):
                raise NonsenseError(f"{stream.peer_id}: a piece that isn't the list's")
        finally:
            del self._flying[number][stream.peer_id]
            if not self._flying[number]:
                del self._flying[number]
            self._holding.notify()

    async def _ask_news(self, stream: Stream, *, known: int) -> None:
        ask = AskNews(epoch=self._epoch, digest=self._holding.digest, known=known)
        await stream.send(ask.pack())
        await self._receive_having(stream)

    async def _receive_having(self, stream: Stream) -> bool:
        answer = await stream.receive(Having | Refused, most=self._rules.most_having_bytes)
        if isinstance(answer, Refused):
            raise LostError(f"{stream.peer_id}: {answer.reason}")
        try:
            self._known[stream.peer_id] = self._holding.unpack(answer.bits)
        except ValueError as error:
            raise NonsenseError(f"{stream.peer_id}: {error}") from error
        return bool(answer.follows)


async def serve_pieces(stream: Stream, holding: Holding, rules: ExchangeRules, known: int) -> None:
    """Answer a member that fetches. known: of its first `AskNews`. Raises `LostError`."""
    asked: AskNews | AskPiece = AskNews(epoch=0, digest=holding.digest, known=known)
    to_member, told = stream.peer_id in holding.offers, -1
    while True:
        follows = False
        if isinstance(asked, AskNews):  # what was told is known, whatever is claimed
            await _news(holding, max(asked.known, told), seconds=rules.waits.word)
        elif asked.number < holding.pieces:
            follows = bool(holding.has[asked.number])
            if follows and not _may_have(stream.peer_id, asked.number, holding):
                raise LostError(f"{stream.peer_id} asks for a piece again and again")
        told = holding.held
        await stream.send(Having(bits=holding.bits(), follows=follows).pack())
        if follows and isinstance(asked, AskPiece):
            await stream.send_blob(holding.piece(asked.number), to_member=to_member)
        asked = await stream.receive(AskNews | AskPiece, seconds=rules.round_seconds)


def _may_have(peer_id: str, number: int, holding: Holding) -> bool:
    times = holding.given.get(peer_id)
    if times is None:
        is_outside = peer_id not in holding.offers
        if is_outside and len(holding.given.keys() - holding.offers.keys()) >= MOST_FETCHERS:
            return False
        times = holding.given[peer_id] = np.zeros(holding.pieces, np.uint8)
    if times[number] >= MOST_TIMES:
        return False
    times[number] += 1
    return True


async def _news(holding: Holding, known: int, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while holding.held <= known and (rest := until - time.monotonic()) > 0:
        await holding.wait(rest)
