"""What we have of the blobs of a list, piece by piece, checked as it arrives."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from app.trainer.exchange.wire import PIECE_BYTES, SignedOffer

Bits = np.ndarray[tuple[int], np.dtype[np.bool_]]
"""One value for each piece of the list."""


class Holding:
    """The blobs of a list. Its pieces are numbered through all blobs, in the order of the list."""

    def __init__(
        self, offers: Mapping[str, SignedOffer], *, packed: bytes, blobs: Mapping[str, bytes]
    ) -> None:
        """offers: by peer id. packed: the list, as its leader sent it. blobs: those we have."""
        self.offers = dict(offers)
        self.packed = packed
        self.digest = hashlib.sha256(packed).digest()
        self._places = [
            (peer_id, index) for peer_id, offer in offers.items() for index in range(offer.pieces)
        ]
        self._blobs = {peer_id: blob for peer_id, blob in blobs.items() if peer_id in offers}
        self._parts: dict[str, dict[int, bytes]] = {}
        self.has: Bits = np.array([peer_id in self._blobs for peer_id, _ in self._places], bool)
        self._changed = asyncio.Event()
        self.given: dict[str, np.ndarray[tuple[int], np.dtype[np.uint8]]] = {}
        """How often each peer got each piece of us."""
        self.listed: Counter[str] = Counter()
        """How often each peer got the list of us by asking for it alone."""

    @property
    def pieces(self) -> int:
        """How many the list has."""
        return len(self._places)

    @property
    def held(self) -> int:
        """How many we have."""
        return int(self.has.sum())

    @property
    def is_complete(self) -> bool:
        """We have all."""
        return bool(self.has.all())

    @property
    def blobs(self) -> dict[str, bytes]:
        """Those of which all is there, by peer id."""
        return self._blobs

    def size(self, number: int) -> int:
        """Bytes of a piece."""
        peer_id, index = self._places[number]
        return self.offers[peer_id].piece_size(index)

    def piece(self, number: int) -> memoryview:
        """A piece that we have."""
        peer_id, index = self._places[number]
        blob = self._blobs.get(peer_id)
        if blob is None:
            return memoryview(self._parts[peer_id][index])
        return memoryview(blob)[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]

    def put(self, number: int, content: bytes) -> bool:
        """Take a piece; False when it isn't the piece that the list means."""
        peer_id, index = self._places[number]
        offer = self.offers[peer_id]
        if hashlib.sha256(content).digest() != offer.piece_hash(index):
            return False
        if self.has[number]:
            return True
        parts = self._parts.setdefault(peer_id, {})
        parts[index] = content
        self.has[number] = True
        if len(parts) == offer.pieces:
            self._blobs[peer_id] = b"".join(parts[each] for each in range(offer.pieces))
            del self._parts[peer_id]
        self.notify()
        return True

    def notify(self) -> None:
        """Wake those who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until something changes, or the time is over."""
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    def bits(self) -> bytes:
        """What we have, as it goes over the wire."""
        return np.packbits(self.has, bitorder="little").tobytes()

    def unpack(self, bits: bytes) -> Bits:
        """What another member has. Raises `ValueError`."""
        if not bits:
            return np.zeros(self.pieces, bool)
        if len(bits) != -(-self.pieces // 8):
            raise ValueError("bits for another number of pieces")
        raw = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little", count=self.pieces)
        return raw.astype(bool)

    def __iter__(self) -> Iterator[tuple[str, SignedOffer]]:
        return iter(self.offers.items())
