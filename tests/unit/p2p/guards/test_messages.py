"""Messages that would end a process, or fill its memory."""

import asyncio

import pytest
from hivemind.dht.protocol import DHTProtocol
from hivemind.p2p import P2P

from app.p2p.guards import messages

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


async def test_a_message_longer_than_any_of_hivemind_is_not_gathered() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((messages.MOST_MESSAGE + 1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="too long"):
        await P2P.receive_raw_data(reader)
    reader.feed_data((3).to_bytes(8, "big") + b"abc")
    assert await P2P.receive_raw_data(reader) == b"abc"
