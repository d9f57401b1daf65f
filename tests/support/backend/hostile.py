"""A backend that answers with whatever bytes a test wants, over a real socket."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PIECE = 64 * 1024
"""Bytes that are written at once."""

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class HostileBackend:
    """Reads the head of each request, then lets ``answer`` write; afterwards it hangs up.

    answer: may be replaced between two requests.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self._writers.add(writer)
        self._idle.clear()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(writer)
            await writer.drain()
        writer.close()
        self._writers.discard(writer)
        if not self._writers:
            self._idle.set()

    async def close(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()
        await self._idle.wait()


@asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[HostileBackend]:
    """Serve on a free port of loopback."""
    backend = HostileBackend(answer)
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend.url = f"http://127.0.0.1:{port}"
    try:
        yield backend
    finally:
        server.close()
        await backend.close()


def reply(content: bytes, *, status: str = "200 OK", headers: str = "") -> Answer:
    """A whole reply of one content."""

    async def write(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        writer.write(head.encode())
        for start in range(0, len(content), PIECE):
            writer.write(content[start : start + PIECE])
            await writer.drain()

    return write


def endless(piece: bytes, *, head: str = "HTTP/1.1 200 OK\r\n\r\n", pause: float = 0.0) -> Answer:
    """A reply that never ends: the same piece again and again, with a pause of some seconds."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


async def most_memory(work: Awaitable[object]) -> int:
    """Bytes of Python objects that the work took at most."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        await work
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
