"""The messages between a newcomer and a donor, as msgpack within hivemind's protobufs."""

from enum import StrEnum
from typing import Annotated, Self

import msgspec
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

CHUNK_BYTES = 256 * 1024
"""Of a state in one reply."""

MOST_RANGES = 64

MOST_HEADER_BYTES = 4096

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]


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
    """The digest of its layout."""

    ranges: Annotated[tuple[tuple[_Count, _Count], ...], msgspec.Meta(max_length=MOST_RANGES)]
    """From the first byte to the one after the last."""

    def pack(self) -> ExpertRequest:
        """As hivemind's message."""
        return ExpertRequest(uid="state", metadata=msgspec.msgpack.encode(self))


class Header(_Message, frozen=True):
    """A donor's first reply."""

    epoch: _Count

    size: _Count
    """Bytes of the whole state."""

    refusal: _Name = ""
    """Why nothing follows, one of `StateRefusal`; "" otherwise."""

    def pack(self) -> ExpertResponse:
        """As hivemind's message."""
        return ExpertResponse(metadata=msgspec.msgpack.encode(self))


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
