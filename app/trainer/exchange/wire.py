"""The messages of an exchange, as msgpack.

They go in frames of our own (see `streams`), whose reader says how long each may be. hivemind's
streams have one limit for all, and read five messages ahead.
"""

from typing import Annotated, Any

import msgspec

MOST_MEMBERS = 64
"""Of a round."""

PIECE_BYTES = 256 * 1024
"""Blobs travel in pieces of this size; the last one of a blob may be shorter."""

HASH_BYTES = 32

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Name = Annotated[str, msgspec.Meta(max_length=128)]


class _ExchangeMessage(
    msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, forbid_unknown_fields=False
):
    def pack(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(self)


class AskLeader(_ExchangeMessage, frozen=True):
    """Asks a peer who leads a round, and makes it lead the round if nobody does."""

    epoch: _Count

    skipped: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=MOST_MEMBERS)]
    """Those who would rather lead it, but didn't answer the sender. In base58."""

    insists: bool = False
    """The sender found no leader among all, and leads if this peer doesn't."""


class Deciding(_ExchangeMessage, frozen=True):
    """The peer doesn't know yet who leads."""


class LeaderIs(_ExchangeMessage, frozen=True):
    """Who leads."""

    leader: _Name


class SignedOffer(_ExchangeMessage, frozen=True):
    """What a member offers. Its key tells whose it is, so that no leader can change it."""

    epoch: _Count
    weight: float

    size: _Count
    """Bytes of the blob."""

    hashes: bytes
    """The SHA-256 of each piece, one after the other."""

    serves: bool
    """Others can call this member."""

    key: Annotated[bytes, msgspec.Meta(max_length=2048)]
    """The member's public key, DER."""

    signature: Annotated[bytes, msgspec.Meta(max_length=2048)]
    """Of the fields above and the run's id."""

    @property
    def pieces(self) -> int:
        """How many pieces the blob has."""
        return -(-self.size // PIECE_BYTES)

    def piece_size(self, index: int) -> int:
        """Bytes of a piece."""
        return min(PIECE_BYTES, self.size - index * PIECE_BYTES)

    def piece_hash(self, index: int) -> bytes:
        """SHA-256 of a piece."""
        return self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]


class SendFrom(_ExchangeMessage, frozen=True):
    """The leader takes the offer, or has it already. The blob follows."""

    start: _Count
    """The first piece that the leader wants."""


class AwaitList(_ExchangeMessage, frozen=True):
    """The list isn't fixed yet. Said now and then, so that a silent leader is a dead one."""


class RoundList(_ExchangeMessage, frozen=True):
    """The offers that count, in the order of their members' peer ids."""

    epoch: _Count
    offers: Annotated[tuple[SignedOffer, ...], msgspec.Meta(max_length=MOST_MEMBERS)]


class AskList(_ExchangeMessage, frozen=True):
    """Asks for the list of a round by a peer that takes no part in it."""

    epoch: _Count


class AskNews(_ExchangeMessage, frozen=True):
    """Asks what a member has of the list's blobs; the answer comes when it has more than known."""

    epoch: _Count

    digest: Annotated[bytes, msgspec.Meta(max_length=HASH_BYTES)]
    """SHA-256 of the packed list."""

    known: Annotated[int, msgspec.Meta(ge=-1, le=2**62)]
    """How many pieces the sender knows of; -1 asks for an answer at once."""


class AskPiece(_ExchangeMessage, frozen=True):
    """Asks for a piece."""

    number: _Count
    """Counted through all blobs of the list."""


class Having(_ExchangeMessage, frozen=True):
    """Which pieces a member has."""

    bits: bytes
    """One bit for each piece of the list, the first one in the lowest bit of the first byte. b""
    when the member doesn't have the list yet."""

    follows: bool
    """The piece that was asked for follows."""


class Refused(_ExchangeMessage, frozen=True):
    """Nothing follows."""

    reason: _Name


MOST_MESSAGE_BYTES = 16 * 1024
"""Of all messages but those with hashes or bits, which the size of blobs bounds."""


def parse(packed: bytes, kind: Any) -> Any:
    """Read a message from another peer's bytes. kind: its type, or a union. Raises `ValueError`."""
    return msgspec.msgpack.decode(packed, type=kind)
