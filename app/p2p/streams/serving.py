"""Answers the streams of one protocol: anybody in the swarm may open any number of them."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from app.common.background import end
from app.common.rate_limit import RateLimit
from app.p2p import calls
from app.p2p.calls import CALL_SECONDS, CallError
from app.p2p.streams import frames

log = logging.getLogger(__name__)

MOST_WAITING = 64
"""Streams that wait for their peer: for its message, or until it has the answer. One more takes the
place of the one that waits longest: who opens many and sends nothing keeps nobody out."""

MOST_ANSWERING = 64
"""Streams whose message is being answered."""

STREAMS_A_PEER = 4

ARRIVAL_SECONDS = 2.0
"""For an answer on its way: who ends the connection sooner would lose it."""

CALLS_A_SECOND, MOST_CALLS_AT_ONCE = 1.0, 20
"""Of one peer."""


class MessageServer:
    """Answers one message on each stream, from `open` to `close`.

    protocol: its name. answer: called with the caller's peer id, which libp2p has authenticated,
    and its message. answered: called with an answer once it has arrived, or its caller was gone.
    busy: the answer to a peer that calls too often. most_bytes: of a message.
    """

    def __init__(
        self,
        protocol: str,
        answer: Callable[[str, bytes], Awaitable[bytes]],
        *,
        answered: Callable[[bytes], None],
        busy: bytes,
        most_bytes: int,
    ) -> None:
        self._protocol = protocol
        self._answer = answer
        self._answered = answered
        self._busy = busy
        self._most_bytes = most_bytes
        self._limit = RateLimit(rate=CALLS_A_SECOND, burst=MOST_CALLS_AT_ONCE)
        self._waiting: dict[asyncio.StreamWriter, None] = {}  # the one that waits longest first
        self._answering = 0
        self._of_peer: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._node: Any = None

    async def open(self, node: Any) -> None:
        """Let others call us. node: our `DHTNode`. Raises `CallError`."""
        await calls.offer(node, self._protocol, self._handle)
        self._node = node

    async def close(self) -> None:
        """Nobody can call us any more. May be called twice."""
        node, self._node = self._node, None
        if node is not None and calls.is_alive(node):
            with contextlib.suppress(CallError):  # the daemon is about to end
                await calls.withdraw(node, self._protocol)
        await end(*self._tasks)

    async def _handle(
        self, info: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer_id = info.peer_id.to_base58()
        try:
            with contextlib.closing(writer):
                await self._serve(peer_id, reader, writer)
        except CallError as error:
            log.debug("a call to %s: %s", self._protocol, error)
        except asyncio.CancelledError:
            # asyncio 3.11 logs a traceback for a handler that ends as cancelled
            log.debug("a call of %s was cut off", peer_id)
        finally:
            self._tasks.discard(task)

    async def _serve(
        self, peer_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_full = self._of_peer[peer_id] >= STREAMS_A_PEER or self._answering >= MOST_ANSWERING
        if is_full or self._limit.take(peer_id) > 0:
            async with calls.within(CALL_SECONDS, peer_id=peer_id):
                await frames.send(writer, self._busy)
            return
        self._of_peer[peer_id] += 1
        try:
            with self._may_wait(writer):
                async with calls.within(CALL_SECONDS, peer_id=peer_id):
                    message = await frames.receive(reader, most=self._most_bytes)
            with self._counted():
                answer = await self._answer(peer_id, message)
            try:
                with self._may_wait(writer):
                    async with calls.within(CALL_SECONDS, peer_id=peer_id):
                        await frames.send(writer, answer)
                    async with calls.within(ARRIVAL_SECONDS, peer_id=peer_id):
                        await reader.read(1)
            finally:
                self._answered(answer)
        finally:
            self._of_peer[peer_id] -= 1
            self._of_peer += Counter()  # forgets zeros

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1

    @contextlib.contextmanager
    def _may_wait(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """A block that waits for the peer; it may be cut off."""
        if len(self._waiting) >= MOST_WAITING:
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.close()
        self._waiting[writer] = None
        try:
            yield
        finally:
            self._waiting.pop(writer, None)
