"""Bounds on hivemind's messages themselves, whatever they say."""

import asyncio
import functools
import threading
from typing import Any

from hivemind.p2p import P2P
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    DownloadData,
    DownloadRequest,
    JoinRequest,
    MessageFromLeader,
)
from hivemind.proto.p2pd_pb2 import RPCError  # type: ignore[attr-defined]
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]
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


MOST_MESSAGE = 2 * 1024 * 1024
"""Bytes of a message in a stream. hivemind's largest carries half a megabyte of tensors, or twice
as many bytes where they are bfloat16."""

MOST_REQUEST = 64 * 1024
"""Bytes of a request that comes alone."""

REQUESTS = frozenset({JoinRequest, ExpertRequest, DownloadRequest})

REPLIES = (MessageFromLeader, ExpertResponse, DownloadData)

UNREAD_SECONDS = 180.0
"""How long a peer may take to read the reply before: some 1.5 kB a second. The parts of a round may
wait for other members, and for as long as the round lasts."""


def bound_messages() -> None:
    """From now on, hivemind reads no message that is longer than any of its own, and waits for no
    peer that doesn't read its reply.

    WORKAROUND (hivemind 1.1.12): a peer says in 8 bytes how long its message is, and hivemind
    gathers as much as it sends, in the memory of whoever it talks to. What nobody reads stays
    there as well.
    """
    receive, send = P2P.receive_protobuf, P2P.send_protobuf
    if hasattr(receive, "__wrapped__"):
        return

    @functools.wraps(receive)
    async def receive_bounded(kind: Any, reader: asyncio.StreamReader) -> tuple[Any, Any]:
        marker = await reader.readexactly(1)
        length = int.from_bytes(await reader.readexactly(P2P.HEADER_LEN), "big")
        if length > (MOST_REQUEST if kind in REQUESTS else MOST_MESSAGE):
            raise ValueError("a message is too long")
        packed = await reader.readexactly(length)
        if marker == P2P.MESSAGE_MARKER:
            return kind.FromString(packed), None
        if marker == P2P.ERROR_MARKER:
            return None, RPCError.FromString(packed)
        raise TypeError("a message is of no known kind")

    @functools.wraps(send)
    async def send_in_time(message: Any, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(UNREAD_SECONDS if isinstance(message, REPLIES) else None):
                await send(message, writer)
        except TimeoutError:
            writer.transport.abort()  # to close it would wait for the reader
            raise

    setattr(P2P, receive.__name__, staticmethod(receive_bounded))
    setattr(P2P, send.__name__, staticmethod(send_in_time))
