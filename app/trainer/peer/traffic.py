"""Counting the tensors that go to other peers and come from them.

Counted are the bytes of serialized (and so compressed) tensors in hivemind's messages: the parts
of an averaging round, the averages that go back, and the state that a newcomer downloads. Not
counted are the rest of each message, encryption, retransmission, and the part of a round that we
average ourselves. A message is counted when all of it has been taken from us.
"""

import mmap
from typing import Any, AsyncIterator, ClassVar  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.averaging.averager import DecentralizedAverager
from hivemind.p2p import P2P, P2PContext, PeerID, ServicerBase
from hivemind.p2p.servicer import StubBase

# hivemind reads the annotations of a call to find its message types, so this import can't be
# under TYPE_CHECKING.
from hivemind.proto.averaging_pb2 import AveragingData  # type: ignore[attr-defined]

from app.trainer.peer.bandwidth import DOWNLOAD, UPLOAD


class Traffic:
    """Counters of bytes sent and received, shared with all processes forked after they were made.

    hivemind's averagers, which are forked processes, count; the trainer's main process reads.
    """

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, 24)).cast("Q")  # anonymous: forks share it

    @property
    def sent(self) -> int:
        """Bytes that went to other peers."""
        return self._counts[0]

    @property
    def received(self) -> int:
        """Bytes that came from other peers."""
        return self._counts[1]

    @property
    def sent_in_rounds(self) -> int:
        """The part of `sent` that averaging rounds took. The rest is state that others downloaded,
        which any peer may ask for as often as it likes."""
        return self._counts[2]

    def count_sent(self, size: int, *, in_round: bool = False) -> None:
        """Count bytes that were taken from us. in_round: they belong to an averaging round."""
        self._counts[0] += size
        if in_round:
            self._counts[2] += size

    def count_received(self, size: int) -> None:
        """Count bytes that arrived."""
        self._counts[1] += size

    async def sending(
        self, messages: AsyncIterator[Any], *, in_round: bool = False
    ) -> AsyncIterator[Any]:
        """Pass the messages on at the rate of `UPLOAD`, and count each one that was taken.

        in_round: they belong to an averaging round.
        """
        async for message in messages:
            size = len(message.tensor_part.buffer)
            await UPLOAD.wait(size)
            yield message
            self.count_sent(size, in_round=in_round)

    async def receiving(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Pass the messages on at the rate of `DOWNLOAD`, and count each one that arrives."""
        async for message in messages:
            size = len(message.tensor_part.buffer)
            self.count_received(size)
            await DOWNLOAD.wait(size)
            yield message


class CountedTraffic(DecentralizedAverager):
    """Base of our averagers."""

    traffic: ClassVar[Traffic]
    """Of all instances of the class, since a call to another peer knows only the class. A trainer
    has one instance of each class."""

    wire_class: ClassVar[type[ServicerBase]]
    """hivemind's class whose name our RPCs have on the network; other peers call no other name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.traffic = Traffic()
        # else the calls of hivemind's class would be taken for ours once a plain peer has run here
        cls._rpc_handlers = cls._stub_type = None

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return str(cls.wire_class._get_handle_name(namespace, method_name))  # noqa: SLF001

    @classmethod
    def get_stub(cls, p2p: P2P, peer: PeerID, *, namespace: str | None = None) -> StubBase:
        """Make the object that calls another peer, with its traffic counted."""
        return _CountingStub(super().get_stub(p2p, peer, namespace=namespace), cls.traffic)

    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        """Average the part of the tensors that a member of the group sends, and send the result."""
        replies = super().rpc_aggregate_part(self.traffic.receiving(stream), context)
        async for message in self.traffic.sending(replies, in_round=True):
            yield message


class _CountingStub(StubBase):
    """hivemind's own stub, with the tensors of its two streaming calls counted."""

    def __init__(self, stub: StubBase, traffic: Traffic) -> None:
        self._stub: Any = stub
        self._traffic = traffic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    async def rpc_aggregate_part(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Send a part of our tensors, and receive its average."""
        replies = await self._stub.rpc_aggregate_part(self._traffic.sending(stream, in_round=True))
        return self._traffic.receiving(replies)

    async def rpc_download_state(self, request: Any) -> AsyncIterator[Any]:
        """Download another peer's state."""
        return self._traffic.receiving(await self._stub.rpc_download_state(request))
