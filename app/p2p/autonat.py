"""libp2p's AutoNAT, version 1: a peer that is asked to call us back shows whether we are reachable.

Any full node answers (https://github.com/libp2p/specs/blob/master/autonat/autonat-v1.md). It calls
public addresses only, and only at the IP address that the question came from.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

PROTOCOL = "/libp2p/autonat/1.0.0"


class Status(IntEnum):
    """The result of the call, with the protocol's numbers."""

    OK = 0
    DIAL_ERROR = 100
    DIAL_REFUSED = 101  # the peer won't try: we share its network, or it was asked too often
    BAD_REQUEST = 200
    INTERNAL_ERROR = 300


def question(peer_id: bytes, addresses: Iterable[bytes]) -> bytes:
    """The message that asks to be called. addresses: packed multiaddrs to be called at."""
    peer = _field(1, peer_id) + b"".join(_field(2, address) for address in addresses)
    message = b"\x08\x00" + _field(2, _field(1, peer))  # field 1, the message's type: dial
    return _varint(len(message)) + message


def answer(reply: bytes) -> Status:
    """The result in a peer's answer. Raises `ValueError` for malformed bytes."""
    try:
        _length, rest = _read_varint(reply)
        response = _fields(rest)[3]
        return Status(_fields(response).get(1, 0))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no answer of AutoNAT: {reply[:40]!r}") from error


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes((low | 0x80,)) + _varint(high) if high else bytes((low,))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _read_varint(raw: bytes) -> tuple[int, bytes]:
    number = shift = 0
    for place, byte in enumerate(raw):
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, raw[place + 1 :]
        shift += 7
    raise IndexError


def _fields(raw: bytes) -> dict[int, Any]:
    """A message's fields by number. AutoNAT's messages have integers and bytes only."""
    found: dict[int, Any] = {}
    while raw:
        tag, raw = _read_varint(raw)
        value, raw = _read_varint(raw)
        if tag & 7 == 2:
            found[tag >> 3], raw = raw[:value], raw[value:]
        else:
            found[tag >> 3] = value
    return found
