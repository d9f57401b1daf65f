"""Messages on a stream, each with its length before it."""

import asyncio
import contextlib
from typing import Any

from app.p2p import calls
from app.p2p.calls import CallError

LENGTH_BYTES = 4
"""Before each message, big-endian."""


async def send(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send a message. The caller has a deadline, and turns errors into `CallError`."""
    writer.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)
    await writer.drain()


async def receive(reader: asyncio.StreamReader, *, most: int) -> bytes:
    """The next message. most: bytes, of which a longer one isn't read. As `send`."""
    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if size > most:
        raise CallError(f"a message of {size} bytes")
    return await reader.readexactly(size)


async def ask(
    p2p: Any, peer_id: str, *, protocol: str, message: bytes, most: int, seconds: float
) -> bytes:
    """Send a message to a peer that has a `MessageServer` of a protocol; returns its answer.

    most: bytes of the answer. Raises `CallError`.
    """
    async with calls.within(seconds, peer_id=peer_id):
        reader, writer = await calls.open_stream(p2p, peer_id, protocol=protocol, seconds=seconds)
        with contextlib.closing(writer):
            await send(writer, message)
            return await receive(reader, most=most)
