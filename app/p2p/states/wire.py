"""The messages between who wants a state and who has it, as msgpack within hivemind's protobufs.

The call: a request with the digest of the layout and the ranges of bytes that are wanted; replies
of which the first is a `Header`, and the others carry the bytes of the ranges, one after the other.
"""

from enum import StrEnum
from typing import Annotated, Self

import msgspec
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

CHUNK_BYTES = 256 * 1024
"""Of a state in one reply."""

MOST_RANGES = 64

MOST_HEADER_BYTES = 4096

MOST_EPOCH = 10**7
"""Seven months of epochs of two seconds. Whoever goes on from an epoch takes a step of the schedule
for each before it."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Epoch = Annotated[int, msgspec.Meta(ge=0, le=MOST_EPOCH)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]
_Signature = Annotated[str, msgspec.Meta(max_length=128)]


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    @classmethod
    def parse(cls, packed: bytes) -> Self:
        """Read it from another peer's bytes. Raises `ValueError`."""
        if len(packed) > MOST_HEADER_BYTES:
            raise ValueError("a header is too long")
        return msgspec.msgpack.decode(packed, type=cls)  # its errors are ValueErrors


class Wanted(_Message, frozen=True):
    """What a newcomer asks for."""

    layout: _Name
    """The digest of its layout; "" for whichever the donor has."""

    ranges: Annotated[tuple[tuple[_Count, _Count], ...], msgspec.Meta(max_length=MOST_RANGES)]
    """From the first byte to the one after the last."""

    def pack(self) -> ExpertRequest:
        """As hivemind's message."""
        return ExpertRequest(uid="state", metadata=msgspec.msgpack.encode(self))


class Header(_Message, frozen=True):
    """A donor's first reply."""

    epoch: _Epoch

    size: _Count
    """Bytes of the whole state."""

    refusal: _Name = ""
    """Why nothing follows, one of `StateRefusal`; "" otherwise."""

    layout: _Name = ""
    """The digest of its layout."""

    parameters_end: _Count = 0
    """Bytes of the parameters, which come first, as float32."""

    digest: _Name = ""
    """Of a door's snapshot: the SHA-256 of its bytes (hex); "" from a donor."""

    signature: _Signature = ""
    """Of a door's snapshot in a swarm with an organiser: of `to_sign`, in base64."""

    def pack(self) -> ExpertResponse:
        """As hivemind's message."""
        return ExpertResponse(metadata=msgspec.msgpack.encode(self))

    def to_sign(self, run_id: str) -> bytes:
        """What the organiser's key signs of a snapshot."""
        said = (self.epoch, self.size, self.layout, self.parameters_end, self.digest)
        body = msgspec.msgpack.encode(said)
        return b"\0".join((b"cotrain snapshot", run_id.encode(), body))


class StateRefusal(StrEnum):
    """Why a donor sends nothing."""

    MALFORMED = "malformed"
    UNWILLING = "unwilling"
    BUSY = "busy"
    OTHER_MODEL = "other-model"
    STRANGER = "stranger"  # the swarm is closed, and who asks isn't on its roster

    def pack(self) -> ExpertResponse:
        """As hivemind's message."""
        return Header(epoch=0, size=0, refusal=self.value).pack()
