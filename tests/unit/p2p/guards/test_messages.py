"""Messages that would end a process, or fill its memory."""

import asyncio
from typing import Any

import pytest
import torch
from hivemind.averaging.partition import DEFAULT_PART_SIZE_BYTES
from hivemind.compression import serialize_torch_tensor
from hivemind.dht.protocol import DHTProtocol
from hivemind.p2p import P2P
from hivemind.proto.averaging_pb2 import AveragingData  # type: ignore[attr-defined]
from hivemind.proto.p2pd_pb2 import RPCError  # type: ignore[attr-defined]
from hivemind.proto.runtime_pb2 import ExpertRequest  # type: ignore[attr-defined]

from app.p2p.guards import messages

messages.bound_nesting()
messages.bound_messages()
dumps = DHTProtocol.serializer.dumps


def nested(levels: int) -> bytes:
    """Tuples within tuples, as hivemind packs them."""
    packed = b"\x90"
    for _level in range(levels):
        packed = b"\x91\xc8" + len(packed).to_bytes(2, "big") + b"\x40" + packed
    return packed


@pytest.mark.parametrize("levels", [20, 200, 2000])
def test_deep_nesting_is_an_error_and_no_crash(levels: int) -> None:
    with pytest.raises(ValueError, match="too deep"):
        DHTProtocol.serializer.loads(nested(levels))


def test_what_hivemind_nests_is_unpacked() -> None:
    value = (1, (2, (3, [4, (5,)])))
    assert DHTProtocol.serializer.loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("kind", "most"),
    [(AveragingData, messages.MOST_MESSAGE), (ExpertRequest, messages.MOST_REQUEST)],
)
async def test_a_message_longer_than_any_of_hivemind_is_not_gathered(kind: Any, most: int) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(P2P.MESSAGE_MARKER + (most + 1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="too long"):
        await P2P.receive_protobuf(kind, reader)


async def test_what_hivemind_sends_is_read() -> None:
    reader, sent = asyncio.StreamReader(), AveragingData(group_id=b"group")
    packed = sent.SerializeToString()
    reader.feed_data(P2P.MESSAGE_MARKER + len(packed).to_bytes(8, "big") + packed)
    assert await P2P.receive_protobuf(AveragingData, reader) == (sent, None)
    packed = RPCError(message="why").SerializeToString()
    reader.feed_data(P2P.ERROR_MARKER + len(packed).to_bytes(8, "big") + packed)
    _nothing, error = await P2P.receive_protobuf(AveragingData, reader)
    assert error.message == "why"


def test_the_largest_part_of_tensors_fits() -> None:
    values = torch.zeros(DEFAULT_PART_SIZE_BYTES // 2, dtype=torch.bfloat16)
    part = AveragingData(tensor_part=serialize_torch_tensor(values))
    assert part.ByteSize() <= messages.MOST_MESSAGE
