"""Streams end whatever the other peer does, and lose nothing that was sent; without p2pd."""

import asyncio
import socket

import pytest

from app.trainer.exchange.streams import Line, LostError, Stream

CONTENT = bytes(range(256)) * 2**12
"""More than the sockets and a reader hold."""


async def ends() -> tuple[Stream, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter]:
    """Our end of a stream, its writer, and the other peer's end."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    stream = Stream(reader, writer, peer_id="other", line=Line(), silence=0.1)
    return stream, writer, *await asyncio.open_connection(sock=theirs)


async def test_a_peer_that_never_reads_leaves_nothing_open() -> None:
    stream, writer, _reader, other = await ends()
    with pytest.raises(LostError, match="took nothing"):
        await stream.send_blob(memoryview(CONTENT))
    stream.close()
    async with asyncio.timeout(5):
        await writer.wait_closed()
    other.close()


async def test_what_was_sent_before_the_end_arrives() -> None:
    stream, _writer, reader, other = await ends()

    async def send() -> None:
        await stream.send_blob(memoryview(CONTENT))
        stream.close()

    sending = asyncio.create_task(send())
    assert await reader.read() == CONTENT
    await sending
    other.close()
