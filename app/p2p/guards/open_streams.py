"""Bounds on the streams by which peers call each other's averagers and ask for a state."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial, wraps
from typing import Any

from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.proto.p2pd_pb2 import RPCError  # type: ignore[attr-defined]
from hivemind.utils.asyncio import as_aiter

from app.common.background import end
from app.common.errors import CoTrainError
from app.p2p import calls
from app.p2p.guards.messages import REQUESTS, UNREAD_SECONDS

log = logging.getLogger(__name__)

MOST_A_PEER = 4
"""Streams of one call. An honest peer has one, and others for a moment when it hangs up."""

MOST_CALLS = 256
"""Streams of a call that sends one small request."""

MOST_SENDING = 400
"""Streams of a call that sends parts of tensors: two groups of the largest size that our leaders
wait for (`app.trainer.averaging.matchmaking`)."""

PREFETCHED = 5
"""Messages that wait until they are used, as hivemind has it: while there is no room for another,
nobody notices that the peer has hung up."""

REQUEST_SECONDS = 15.0
"""Until a request that comes alone is there, with its end."""

PART_SECONDS = 120.0
"""Until the first part of tensors is there: half a megabyte at 4 kB a second."""

Handler = Callable[[AsyncIterator[Any], P2PContext], AsyncIterator[Any]]


class OpenStreams:
    """Those of one call, by peer."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[PeerID] = Counter()
        self._mute: dict[asyncio.Task[None], None] = {}
        """Those without a request, the oldest first."""

    @contextmanager
    def taking(self, peer: PeerID, task: "asyncio.Task[None]") -> Iterator[bool]:
        """Whether one more may be open. Where there are too many, the one ends that has waited
        longest for its request. task: what answers it."""
        if not self._has_room(peer):
            yield False
            return
        self._open[peer] += 1
        self._mute[task] = None
        try:
            yield True
        finally:
            self.has_asked(task)
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]

    def has_asked(self, task: "asyncio.Task[None]") -> None:
        """A stream's request is there."""
        self._mute.pop(task, None)

    def _has_room(self, peer: PeerID) -> bool:
        if self._open[peer] >= MOST_A_PEER:
            return False
        if self._open.total() < self._most:
            return True
        oldest = next(iter(self._mute), None)
        if oldest is None:
            return False
        del self._mute[oldest]
        oldest.cancel()
        return True


def bound_streams() -> None:
    """From now on, hivemind answers no more streams than honest peers need, and none on which no
    request comes.

    WORKAROUND (hivemind 1.1.12): it reads ahead seven messages of as many streams as anybody opens,
    and waits for ever for a request, or for its end. Where a stream has more messages than its
    answer needs, it keeps them for ever.
    """
    add = P2P._add_protobuf_stream_handler  # noqa: SLF001
    if hasattr(add, "__wrapped__"):
        return

    @wraps(add)
    async def add_bounded(
        p2p: P2P, name: str, handler: Handler, kind: Any, *, balanced: bool = False
    ) -> None:
        streams = OpenStreams(MOST_CALLS if kind in REQUESTS else MOST_SENDING)

        async def handle(
            info: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            own: Any = p2p.peer_id  # hivemind's annotation is wider
            context = P2PContext(handle_name=name, local_id=own, remote_id=info.peer_id)
            requests: asyncio.Queue[Any] = asyncio.Queue(PREFETCHED)
            reading = asyncio.create_task(_read(reader, kind, requests))
            answering = asyncio.create_task(_answer(context, requests, writer))
            try:
                await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end(reading, answering)
                _close(writer)

        async def _answer(
            context: P2PContext, requests: "asyncio.Queue[Any]", writer: asyncio.StreamWriter
        ) -> None:
            task: Any = asyncio.current_task()
            with streams.taking(context.remote_id, task) as has_place:
                if not has_place:
                    return
                asked = _parts(requests, partial(streams.has_asked, task))
                if kind in REQUESTS:
                    if (request := await _only(requests)) is None:
                        return
                    streams.has_asked(task)
                    asked = as_aiter(request)
                await _reply(handler(asked, context), writer)

        await p2p.add_binary_stream_handler(name, handle, balanced=balanced)

    setattr(P2P, add.__name__, add_bounded)


async def _read(reader: asyncio.StreamReader, kind: Any, requests: "asyncio.Queue[Any]") -> None:
    """Gather what a peer sends, None for its end, until it hangs up or breaks the rules."""
    message: Any = reader
    while message is not None:
        message, _error = await P2P.receive_protobuf(kind, reader)
        await requests.put(message)
    await reader.read(1)


async def _only(requests: "asyncio.Queue[Any]") -> Any:
    """The only request; None where it doesn't come, or isn't the only one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await requests.get()
            if await requests.get() is None:
                return request
    return None


async def _parts(requests: "asyncio.Queue[Any]", begun: Callable[[], None]) -> AsyncIterator[Any]:
    """A stream's requests. begun: called when the first is there. Raises `TimeoutError`."""
    async with asyncio.timeout(PART_SECONDS):
        request = await requests.get()
    begun()
    while request is not None:
        yield request
        request = await requests.get()


async def _reply(replies: Any, writer: asyncio.StreamWriter) -> None:
    """Send the replies of a handler, or its error as hivemind does."""
    try:
        with calls.hivemind_errors():
            async with aclosing(replies):
                async for reply in replies:
                    try:
                        await P2P.send_protobuf(reply, writer)
                    except (OSError, RuntimeError) as error:  # whoever called is gone
                        log.debug("a reply can't be sent: %s", error)
                        return
    except CoTrainError as error:
        log.warning("a call of another peer failed", exc_info=True)
        with suppress(OSError, RuntimeError):
            await P2P.send_protobuf(RPCError(message=str(error)), writer)


def _close(writer: asyncio.StreamWriter) -> None:
    """Close a stream, also where nobody reads the end of it."""
    if writer.transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(UNREAD_SECONDS, writer.transport.abort)
    writer.close()
