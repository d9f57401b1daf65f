"""A round that we lead: takes the members' offers and blobs, and fixes the list of what counts.

A blob is listed only when all of it is here and can be read, so that every member can get it from
us. We lead whether we take part ourselves or are late: the others need not wait for us.
"""

import asyncio
import hashlib
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.p2p.sightings import PartFault
from app.trainer.exchange.faults import Faults
from app.trainer.exchange.holding import Holding
from app.trainer.exchange.offers import OfferError, check_offer
from app.trainer.exchange.rules import ExchangeRules
from app.trainer.exchange.streams import NonsenseError, Stream
from app.trainer.exchange.wire import (
    MOST_MEMBERS,
    AwaitList,
    Refused,
    RoundList,
    SendFrom,
    SignedOffer,
)

HOPELESS = 0.25
"""Part of an upload that is due at the end of a round; below it nothing can help."""

MOST_STRANGERS = 8
"""Members that nobody expected: newcomers, or one peer with many keys, whose blobs we hold."""


@dataclass(kw_only=True, eq=False)
class _Upload:
    """An offer, and its blob as far as it has arrived."""

    offer: SignedOffer
    parts: list[bytes] = field(default_factory=list)
    received: int = 0  # pieces
    blob: bytes | None = None  # when all of it is here and can be read
    is_out: bool = False  # it doesn't count
    began_at: float = field(default_factory=time.monotonic)
    moved_at: float = field(default_factory=time.monotonic)
    moved: int = 0  # bytes, those that came twice included

    @property
    def is_settled(self) -> bool:
        return self.is_out or self.blob is not None

    @property
    def is_whole(self) -> bool:
        return self.received == self.offer.pieces

    def leave_out(self) -> None:
        self.is_out, self.parts = True, []

    def move(self, size: int) -> None:
        self.moved += size
        self.moved_at = time.monotonic()

    def is_under_way(self, now: float, *, silence: float) -> bool:
        """It has begun, for so long that its pace can be told."""
        return not (self.is_settled or self.is_whole) and now >= self.began_at + silence

    def due(self, now: float, *, end: float) -> float:
        """How much of what is missing will have come at the end, if it goes on twice as fast."""
        coming = 2 * self.moved / (now - self.began_at) * (end - now)
        return coming / max(1, self.offer.size - self.moved)


class LedRound:
    """One round. `run` fixes its list, `serve` speaks with a member."""

    def __init__(
        self,
        epoch: int,
        *,
        own_id: str,
        known: frozenset[str],
        rules: ExchangeRules,
        faults: Faults,
    ) -> None:
        """known: the other trainers, as of the last round."""
        self._epoch = epoch
        self._known = known
        self._own_id = own_id
        self._rules = rules
        self._faults = faults
        self._uploads: dict[str, _Upload] = {}
        self._expected: frozenset[str] | None = None  # None: we don't take part yet
        self._changed = asyncio.Event()
        self.fixed: asyncio.Future[Holding] = asyncio.get_running_loop().create_future()

    @property
    def has_offers(self) -> bool:
        """Somebody else takes part."""
        return bool(self._uploads.keys() - {self._own_id})

    def enter(self, offer: SignedOffer, blob: bytes, expected: Collection[str]) -> None:
        """Take part ourselves, unless the list is fixed. expected: the others' peer ids."""
        self._expected = frozenset(expected) - {self._own_id}
        if not self.fixed.done():
            self._uploads[self._own_id] = _Upload(offer=offer, blob=blob)
        self._changed.set()

    async def run(self) -> None:
        """Wait for offers and blobs, then fix the list."""
        while not self._has_begun:
            await self._changed.wait()
            self._changed.clear()
        waits, now = self._rules.waits, time.monotonic()
        gather_until = now + self._rules.gather_seconds
        fix_at = now + self._rules.round_seconds / 2
        while now < fix_at:
            self._drop_hopeless(now, fix_at)
            is_settled = all(upload.is_settled for upload in self._uploads.values())
            if is_settled and (now >= gather_until or self._are_all_here):
                break
            wake_at = min(fix_at, gather_until if is_settled else now + waits.silence / 4)
            with suppress(TimeoutError):
                async with asyncio.timeout(wake_at - now + 0.001):
                    await self._changed.wait()
            self._changed.clear()
            now = time.monotonic()
        self._fix()

    @property
    def _has_begun(self) -> bool:
        """We take part, or more than half of those we know do, and two at least. A few that come
        long before all others can't make us fix a list with none but themselves."""
        here = self._known & self._uploads.keys()
        return self._expected is not None or len(here) > max(1, len(self._known) / 2)

    @property
    def _are_all_here(self) -> bool:
        return self._expected is not None and self._expected <= self._uploads.keys()

    def _drop_hopeless(self, now: float, end: float) -> None:
        """Leave out who is silent or by far too slow; and of those who are too slow, the slowest,
        since our own line may be what is slow: then the others have more of it."""
        silence = self._rules.waits.silence
        under_way = {
            peer_id: upload
            for peer_id, upload in self._uploads.items()
            if upload.is_under_way(now, silence=silence)
        }
        left = {each for each, upload in under_way.items() if now >= upload.moved_at + silence}
        dues = {
            each: upload.due(now, end=end) for each, upload in under_way.items() if each not in left
        }
        left |= {each for each, due in dues.items() if due < HOPELESS}
        slowest = min(dues, key=lambda each: dues[each], default="")
        if dues.get(slowest, 1.0) < 1.0:
            left.add(slowest)
        for peer_id in left:
            under_way[peer_id].leave_out()
            self._faults.name(self._epoch, peer_id, PartFault.SILENT)

    def _fix(self) -> None:
        blobs = {
            peer_id: upload.blob
            for peer_id, upload in sorted(self._uploads.items())
            if upload.blob is not None
        }
        for upload in self._uploads.values():
            upload.parts = []
        offers = {peer_id: self._uploads[peer_id].offer for peer_id in blobs}
        packed = RoundList(epoch=self._epoch, offers=tuple(offers.values())).pack()
        self.fixed.set_result(Holding(offers, packed=packed, blobs=blobs))

    async def serve(self, stream: Stream, offer: SignedOffer) -> None:
        """Take a member's offer and blob, and send it the list. Raises `LostError`."""
        try:
            upload = self._taken(stream.peer_id, offer)
        except OfferError as error:
            self._faults.name(self._epoch, stream.peer_id, error.fault)
            await stream.send(Refused(reason=str(error)[:100]).pack())
            return
        if isinstance(upload, Refused):
            await stream.send(upload.pack())
            return
        wanted = None if upload is None or upload.is_out else upload
        start = offer.pieces if wanted is None else wanted.received
        await stream.send(SendFrom(start=start).pack())
        speaking = asyncio.create_task(self._say_that_we_live(stream))
        receiving = asyncio.create_task(self._receive(stream, wanted, start))
        try:
            ends: set[asyncio.Future[Any]] = {receiving, speaking, self.fixed}
            while self.fixed in ends:
                done, ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()  # raises what it raised
        finally:
            speaking.cancel()
            receiving.cancel()
            await asyncio.gather(speaking, receiving, return_exceptions=True)
        await stream.send(self.fixed.result().packed)

    async def _say_that_we_live(self, stream: Stream) -> None:
        while True:
            await asyncio.sleep(self._rules.waits.word)
            await stream.send(AwaitList().pack())

    def _taken(self, peer_id: str, offer: SignedOffer) -> _Upload | Refused | None:
        """The place of an offer; None when it is too late for one. Raises `OfferError`."""
        if check_offer(offer, self._rules, epoch=self._epoch) != peer_id:
            raise OfferError("the offer is another peer's", PartFault.SHAPE)
        if self.fixed.done():
            return None
        known = self._uploads.get(peer_id)
        if known is not None:
            return known if known.offer == offer else Refused(reason="a second offer")
        if not self._has_room_for(peer_id):
            return Refused(reason="full")
        self._uploads[peer_id] = _Upload(offer=offer)
        self._changed.set()
        return self._uploads[peer_id]

    def _has_room_for(self, peer_id: str) -> bool:
        """Whoever is expected takes the place of somebody who isn't."""
        expected = self._known if self._expected is None else self._expected
        others = self._uploads.keys() - {self._own_id}
        strangers = sorted(others - expected)
        if peer_id not in expected and len(strangers) >= MOST_STRANGERS:
            return False
        if len(others) < MOST_MEMBERS - 1:
            return True
        if peer_id not in expected or not strangers:
            return False
        self._uploads.pop(strangers[0]).leave_out()
        return True

    async def _receive(self, stream: Stream, upload: _Upload | None, start: int) -> None:
        if upload is None:
            return
        for index in range(start, upload.offer.pieces):
            content = await stream.receive_blob(upload.offer.piece_size(index), upload.move)
            if upload.is_out:
                return
            if hashlib.sha256(content).digest() != upload.offer.piece_hash(index):
                self._leave_out(stream.peer_id, upload)
                raise NonsenseError(f"{stream.peer_id}: a piece that it didn't offer")
            if index == upload.received:  # else another stream of this member brought it
                upload.parts.append(content)
                upload.received += 1
                if upload.is_whole:
                    await self._judge(stream.peer_id, upload)

    async def _judge(self, peer_id: str, upload: _Upload) -> None:
        blob = b"".join(upload.parts)
        upload.parts = []
        try:
            await asyncio.to_thread(self._rules.check, blob)
        except ValueError:
            self._leave_out(peer_id, upload)
            return
        if not upload.is_out:
            upload.blob = blob
        self._changed.set()

    def _leave_out(self, peer_id: str, upload: _Upload) -> None:
        upload.leave_out()
        self._faults.name(self._epoch, peer_id, PartFault.SHAPE)
        self._changed.set()
