"""Streams between members, over p2pd: messages in frames of bounded length, and raw pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from hivemind.p2p import P2P

from app.common.errors import CoTrainError
from app.p2p.calls import CallError, open_stream
from app.trainer.exchange.wire import MOST_MESSAGE_BYTES, parse
from app.trainer.peer.bandwidth import DOWNLOAD, UPLOAD

LENGTH_BYTES = 4
"""Before each message, big-endian."""

CHUNK_BYTES = 64 * 1024
"""That are sent or received at once."""


class LostError(CoTrainError):
    """Another peer is silent, gone or out of reach."""


class NonsenseError(CoTrainError):
    """Another peer sent what no member of an exchange sends."""


class Line:
    """What goes over our line: counted, and no faster than the user wants."""

    def __init__(self) -> None:
        self.upload, self.download = UPLOAD, DOWNLOAD
        self.sent = self.received = 0  # bytes of blobs
        self.sent_to_members = 0
        """Of these, to members of a round: those who take no part may be anybody."""


class Stream:
    """A conversation with one peer, whose id libp2p has authenticated."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        peer_id: str,
        line: Line,
        silence: float,
    ) -> None:
        """silence: seconds; a peer that takes nothing for longer is lost."""
        writer.transport.set_write_buffer_limits(high=0)  # a write waits until all has left us
        self.peer_id = peer_id
        self._reader = reader
        self._writer = writer
        self._line = line
        self._silence = silence

    async def send(self, packed: bytes) -> None:
        """Send a message. Raises `LostError`."""
        await self._write(len(packed).to_bytes(LENGTH_BYTES, "big") + packed)

    async def receive(
        self, kind: Any, *, seconds: float | None = None, most: int = MOST_MESSAGE_BYTES
    ) -> Any:
        """The next message, one of the types of ``kind``. Raises `LostError`, `NonsenseError`."""
        packed = await self.receive_packed(seconds=seconds, most=most)
        try:
            return parse(packed, kind)
        except ValueError as error:
            raise NonsenseError(f"{self.peer_id}: {error}") from error

    async def receive_packed(self, *, seconds: float | None, most: int) -> bytes:
        """The next message, unread. seconds: until it begins; None: as long as for anything."""
        size = int.from_bytes(await self._read(LENGTH_BYTES, seconds=seconds), "big")
        if size > most:
            raise NonsenseError(f"{self.peer_id}: a message of {size} bytes")
        return await self._read(size)

    async def send_blob(self, content: memoryview, *, to_member: bool = True) -> None:
        """Send a piece of a blob. to_member: of its round. Raises `LostError`."""
        for begin in range(0, len(content), CHUNK_BYTES):
            chunk = content[begin : begin + CHUNK_BYTES]
            await self._line.upload.wait(len(chunk))
            await self._write(chunk)
            self._line.sent += len(chunk)
            self._line.sent_to_members += len(chunk) * to_member

    async def receive_blob(self, size: int, moved: Callable[[int], None] | None = None) -> bytes:
        """A piece of a blob. moved: called with the bytes of each part. Raises `LostError`."""
        content = bytearray()
        while len(content) < size:
            chunk = await self._some(min(CHUNK_BYTES, size - len(content)), None)
            self._line.received += len(chunk)
            if moved is not None:
                moved(len(chunk))
            await self._line.download.wait(len(chunk))
            content += chunk
        return bytes(content)

    def close(self) -> None:
        """End the conversation. What a write that failed has left is dropped: `StreamWriter.close`
        would wait for ever for a peer that never reads."""
        self._writer.transport.abort()

    async def _read(self, size: int, *, seconds: float | None = None) -> bytes:
        content = b""
        while len(content) < size:
            content += await self._some(min(CHUNK_BYTES, size - len(content)), seconds)
        return content

    async def _some(self, most: int, seconds: float | None) -> bytes:
        seconds = self._silence if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                found = await self._reader.read(most)
        except TimeoutError:
            raise LostError(f"{self.peer_id} sent nothing for {seconds:.1f} s") from None
        except OSError as error:
            raise LostError(f"{self.peer_id} is gone: {error}") from error
        if not found:
            raise LostError(f"{self.peer_id} ended the conversation")
        return found

    async def _write(self, content: bytes | memoryview) -> None:
        try:
            self._writer.write(content)
            async with asyncio.timeout(self._silence):
                await self._writer.drain()
        except TimeoutError:
            raise LostError(f"{self.peer_id} took nothing for {self._silence:.1f} s") from None
        except (OSError, RuntimeError) as error:  # asyncio's for a transport that is closed
            raise LostError(f"{self.peer_id} is gone: {error}") from error


@asynccontextmanager
async def opened(
    p2p: P2P, peer_id: str, name: str, *, line: Line, answer: float, silence: float
) -> AsyncIterator[Stream]:
    """A stream to a peer, closed afterwards. name: of its handler. Raises `LostError`.

    answer: seconds until it is open. silence: as of `Stream`.
    """
    try:
        reader, writer = await open_stream(p2p, peer_id, protocol=name, seconds=answer)
    except CallError as error:
        raise LostError(str(error)) from error
    stream = Stream(reader, writer, peer_id=peer_id, line=line, silence=silence)
    try:
        yield stream
    finally:
        stream.close()
