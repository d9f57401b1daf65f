"""Bounds on hivemind's messages themselves, whatever they say."""

import asyncio
import functools
import threading
from typing import Any

from hivemind.p2p import P2P
from hivemind.utils.serializer import MSGPackSerializer

DEEPEST_NESTING = 8
"""Tuples within tuples in a message; hivemind's own have three levels at most."""

_depth = threading.local()


def bound_nesting() -> None:
    """From now on, hivemind unpacks no message that is nested deeper than `DEEPEST_NESTING`.

    WORKAROUND (hivemind 1.1.12): it unpacks tuples by recursion through C code. 200 levels, which
    take a kilobyte, overflow the stack, and the process is gone without an exception.
    """
    decode = MSGPackSerializer._decode_ext_types  # noqa: SLF001
    if hasattr(decode, "__wrapped__"):
        return

    @functools.wraps(decode)
    def decode_bounded(cls: type[MSGPackSerializer], type_code: int, data: bytes) -> Any:
        depth = getattr(_depth, "value", 0)
        if depth >= DEEPEST_NESTING:
            raise ValueError("a message is nested too deep")
        _depth.value = depth + 1
        try:
            return decode(type_code, data)
        finally:
            _depth.value = depth

    setattr(MSGPackSerializer, decode.__name__, classmethod(decode_bounded))


MOST_MESSAGE = 16 * 1024 * 1024
"""Bytes of a message in a stream; hivemind's largest carries half a megabyte of tensors."""


def bound_messages() -> None:
    """From now on, hivemind reads no message that is longer than `MOST_MESSAGE`.

    WORKAROUND (hivemind 1.1.12): a peer says in 8 bytes how long its message is, and hivemind
    gathers as much as it sends, in the memory of whoever it talks to.
    """
    receive = P2P.receive_raw_data
    if hasattr(receive, "__wrapped__"):
        return

    @functools.wraps(receive)
    async def receive_bounded(reader: asyncio.StreamReader) -> bytes:
        length = int.from_bytes(await reader.readexactly(P2P.HEADER_LEN), "big")
        if length > MOST_MESSAGE:
            raise ValueError("a message is too long")
        return await reader.readexactly(length)

    setattr(P2P, receive.__name__, staticmethod(receive_bounded))
