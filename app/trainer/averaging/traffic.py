"""Counting the tensors that go to other peers and come from them, where they are sent, and
keeping them to a rate.

Counted are the bytes of serialized (and so compressed) tensors in hivemind's messages: the parts
of an averaging round, the averages that go back, and the state that a newcomer downloads. Not
counted are the messages' few bytes around them, encryption, what is sent again, and the part of
a round that we average for ourselves. A message counts once it was taken from us as a whole.
"""

import asyncio
import mmap
import multiprocessing
import time
from typing import Any, AsyncIterator, ClassVar  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.averaging.averager import DecentralizedAverager
from hivemind.p2p import P2P, P2PContext, PeerID, ServicerBase
from hivemind.p2p.servicer import StubBase

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    AveragingData,
    DownloadData,
    DownloadRequest,
)

from app.protocol import Pace


class BandwidthLimit:
    """So many bytes a second may pass, in all processes that were forked from this one together.

    Each message waits until those before it have had their time. hivemind takes no next message
    from us, and none from the network, before this one has passed. 0 is no limit.
    """

    def __init__(self) -> None:
        # its lock, like hivemind's averagers, only goes from process to process by a fork
        self._rate_and_free_at = multiprocessing.get_context("fork").Array("d", 2)

    def set(self, rate: float) -> None:
        """Let so many bytes a second pass from now on."""
        with self._rate_and_free_at.get_lock():
            self._rate_and_free_at[0] = rate

    async def wait(self, size: int) -> None:
        """Wait until a message of this many bytes may pass."""
        now = time.monotonic()
        with self._rate_and_free_at.get_lock():
            rate, free_at = self._rate_and_free_at[:]
            if not rate:
                return
            starts_at = max(now, free_at)
            self._rate_and_free_at[1] = starts_at + size / rate
        await asyncio.sleep(starts_at - now)


UPLOAD, DOWNLOAD = BandwidthLimit(), BandwidthLimit()


def keep_to(pace: Pace) -> None:
    """Send and receive no faster than the app wants."""
    UPLOAD.set(pace.upload)
    DOWNLOAD.set(pace.download)


class Traffic:
    """Bytes sent and received: counted in a process forked from the one that reads them."""

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, 16)).cast("Q")  # anonymous, so shared with forks

    @property
    def sent(self) -> int:
        """Bytes that went to other peers."""
        return self._counts[0]

    @property
    def received(self) -> int:
        """Bytes that came from other peers."""
        return self._counts[1]

    async def sending(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The same messages, counted as they leave, and no faster than allowed."""
        async for message in messages:
            size = len(message.tensor_part.buffer)
            await UPLOAD.wait(size)
            yield message
            self._counts[0] += size

    async def receiving(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The same messages, counted as they arrive, and taken no faster than allowed."""
        async for message in messages:
            size = len(message.tensor_part.buffer)
            self._counts[1] += size
            await DOWNLOAD.wait(size)
            yield message


class CountedTraffic(DecentralizedAverager):
    """A base for averagers of ours. traffic: of all instances of a class, as a call to another
    peer knows the class alone; a trainer has one instance of each.

    wire_class: the library's class that others know us as; under our own name, no peer would
    find us.
    """

    traffic: ClassVar[Traffic]
    wire_class: ClassVar[type[ServicerBase]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.traffic = Traffic()

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return str(cls.wire_class._get_handle_name(namespace, method_name))  # noqa: SLF001

    @classmethod
    def get_stub(cls, p2p: P2P, peer: PeerID, *, namespace: str | None = None) -> StubBase:
        """What calls another peer."""
        return _CountingStub(super().get_stub(p2p, peer, namespace=namespace), cls.traffic)

    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        """A groupmate sends its part of the tensors; the averages go back."""
        replies = super().rpc_aggregate_part(self.traffic.receiving(stream), context)
        async for message in self.traffic.sending(replies):
            yield message

    async def rpc_download_state(
        self, request: DownloadRequest, context: P2PContext
    ) -> AsyncIterator[DownloadData]:
        """A newcomer downloads our state."""
        replies = super().rpc_download_state(request, context)
        async for message in self.traffic.sending(replies):
            yield message


class _CountingStub(StubBase):
    """Calls another peer as hivemind's own stub does."""

    def __init__(self, stub: StubBase, traffic: Traffic) -> None:
        self._stub: Any = stub
        self._traffic = traffic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    async def rpc_aggregate_part(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Send our part of the tensors; returns the averages as they come."""
        replies = await self._stub.rpc_aggregate_part(self._traffic.sending(stream))
        return self._traffic.receiving(replies)

    async def rpc_download_state(self, request: Any) -> AsyncIterator[Any]:
        """Download another peer's state."""
        return self._traffic.receiving(await self._stub.rpc_download_state(request))
