"""Sends our state to newcomers, from the averager's process.

What is sent is of a snapshot, and so of one moment, which newcomers of the next minute share.
`app.p2p.states.wire` has the messages; plain hivemind's peers get the same snapshot in its own.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, AsyncIterator, ClassVar  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.averaging.averager import DecentralizedAverager
from hivemind.compression.base import CompressionInfo, TensorRole
from hivemind.p2p import P2PContext, PeerID

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    DownloadData,
    DownloadRequest,
)
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]
from hivemind.utils.streaming import split_for_streaming

from app.p2p.states.places import DownloadPlace, DownloadPlaces
from app.p2p.states.wire import CHUNK_BYTES, Header, StateRefusal, Wanted
from app.trainer.joining.layout import StateLayout
from app.trainer.peer.bandwidth import UPLOAD
from app.trainer.peer.traffic import Traffic

FRESH_SECONDS = 60.0
"""A download begins with a snapshot that isn't older. When the last download is over, its memory is
freed as long afterwards."""

MOST_PAST = 5
"""Epochs that a snapshot may lie behind when a download begins; a newcomer that lands more than
twice as many behind downloads again."""

MOST_PAST_EXACT = 1
"""The same where a newcomer must make up for each epoch: members have no older round."""

OLDEST_SECONDS = 300.0
"""For as long, a snapshot that somebody really downloads is kept, and sent to those whose download
broke off."""


@dataclass(kw_only=True, eq=False)
class _Snapshot:
    """Our state at one moment."""

    epoch: int
    layout: StateLayout
    content: memoryview | None
    """None when its memory was needed: whoever reads on gets nothing more."""

    metadata: bytes
    """What hivemind sends along."""

    infos: list[CompressionInfo]
    """How hivemind sends each tensor."""

    taken_at: float
    """Monotonic time."""

    readers: set[DownloadPlace] = field(default_factory=set)

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.taken_at


class StateDonor(DecentralizedAverager):
    """Base of an averager that gives its state away."""

    traffic: ClassVar[Traffic]
    """Counts what is sent."""

    is_exact: ClassVar[bool] = False
    """All peers of an epoch have the same bits: nothing is rounded, and no download begins with a
    snapshot of long ago."""

    _snapshot: _Snapshot | None = None
    _older: _Snapshot | None = None
    """The one before, as long as somebody reads it. There is never a third."""

    _taking: asyncio.Lock | None = None
    _looking: frozenset[asyncio.Task[_Snapshot | None]] = frozenset()
    """A task to which nothing refers may be lost."""

    _downloads: DownloadPlaces | None = None

    async def rpc_send_state(
        self, request: ExpertRequest, context: P2PContext
    ) -> AsyncIterator[ExpertResponse]:
        """Send what a newcomer asks for, or a `StateRefusal`."""
        try:
            wanted = Wanted.parse(request.metadata)
        except ValueError:
            yield StateRefusal.MALFORMED.pack()
            return
        if not self.allow_state_sharing:
            yield StateRefusal.UNWILLING.pack()
            return
        place = self._places.take(context.remote_id)
        if place is None:
            yield StateRefusal.BUSY.pack()
            return
        begins = any(begin == 0 for begin, _end in wanted.ranges)
        try:
            snapshot = await self._snapshot_for(place, begins=begins)
            if snapshot is None:
                yield StateRefusal.BUSY.pack()
                return
            async for reply in self._replies(snapshot, wanted):
                size = len(reply.metadata)
                if not self._places.is_kept(context.remote_id, place, size=size):
                    return  # another peer has got it
                yield reply
        finally:
            self._end(context.remote_id, place)

    async def rpc_download_state(
        self, _request: DownloadRequest, context: P2PContext
    ) -> AsyncIterator[DownloadData]:
        """Send our state in hivemind's way, which knows no refusal but an empty answer."""
        place = self._places.take(context.remote_id) if self.allow_state_sharing else None
        if place is None:
            return
        try:
            snapshot = await self._snapshot_for(place, begins=True)
            if snapshot is None:
                return
            async for message in self._messages(snapshot):
                size = len(message.tensor_part.buffer)
                if not self._places.is_kept(context.remote_id, place, size=size):
                    return  # another peer has got it
                await UPLOAD.wait(size)
                yield message
                self.traffic.count_sent(size)
        finally:
            self._end(context.remote_id, place)

    async def _replies(self, snapshot: _Snapshot, wanted: Wanted) -> AsyncIterator[ExpertResponse]:
        layout = snapshot.layout
        if wanted.layout not in ("", layout.digest):
            yield StateRefusal.OTHER_MODEL.pack()
            return
        size = layout.size
        yield Header(
            epoch=snapshot.epoch,
            size=size,
            layout=layout.digest,
            parameters_end=layout.parameters_end,
        ).pack()
        for begin, end in wanted.ranges:
            for offset in range(begin, min(end, size), CHUNK_BYTES):
                if snapshot.content is None:
                    return
                part = bytes(snapshot.content[offset : min(offset + CHUNK_BYTES, end, size)])
                await UPLOAD.wait(len(part))
                yield ExpertResponse(metadata=part)
                self.traffic.count_sent(len(part))

    async def _messages(self, snapshot: _Snapshot) -> AsyncIterator[DownloadData]:
        """The snapshot's tensors as hivemind sends them, one at a time in memory."""
        metadata = snapshot.metadata
        for place, info in zip(snapshot.layout.places, snapshot.infos, strict=True):
            if snapshot.content is None:
                return
            content = bytearray(snapshot.content[place.begin : place.end])
            tensor = place.view(content).to(info.descriptor.dtype)
            packed = self.state_compression.compress(tensor, info, allow_inplace=False)
            for part in split_for_streaming(packed):
                if snapshot.content is None:
                    return
                yield DownloadData(tensor_part=part, metadata=metadata)
                metadata = b""

    @property
    def _places(self) -> DownloadPlaces:
        if self._downloads is None:
            self._downloads = DownloadPlaces()
        return self._downloads

    def _end(self, peer: PeerID, place: DownloadPlace) -> None:
        """A download is over."""
        for snapshot in (self._snapshot, self._older):
            if snapshot is not None:
                snapshot.readers.discard(place)
        if self._older is not None and not self._older.readers:
            self._free_older()
        if self._places.give_back(peer, place):
            asyncio.get_running_loop().call_later(FRESH_SECONDS, self._forget_snapshot)

    async def _snapshot_for(self, place: DownloadPlace, *, begins: bool) -> _Snapshot | None:
        """The snapshot to be sent to a reader; None when others need the memory.

        begins: it has nothing yet.
        """
        # who hangs up meanwhile doesn't have the state copied again for the next one
        look = asyncio.create_task(self._newest(begins=begins))
        self._looking = frozenset((look, *(each for each in self._looking if not each.done())))
        snapshot = await asyncio.shield(look)
        if snapshot is not None:
            snapshot.readers.add(place)
        return snapshot

    async def _newest(self, *, begins: bool) -> _Snapshot | None:
        if self._taking is None:
            self._taking = asyncio.Lock()
        async with self._taking:
            snapshot = self._snapshot
            if snapshot is not None and self._may_send(snapshot, begins=begins):
                return snapshot
            if snapshot is not None and snapshot.readers:
                if self._older is not None and self._is_in_use(self._older):
                    return None
                self._free_older()  # whose readers go on with the newest, when they ask again
                self._older = snapshot
            self._snapshot = snapshot = None  # before the next one takes its memory
            self._snapshot = await self._take_snapshot()
            # Whoever wanted it may have hung up meanwhile.
            asyncio.get_running_loop().call_later(FRESH_SECONDS, self._forget_snapshot)
            return self._snapshot

    def _may_send(self, snapshot: _Snapshot, *, begins: bool) -> bool:
        least = self.state_sharing_priority - (MOST_PAST_EXACT if self.is_exact else MOST_PAST)
        if snapshot.age < FRESH_SECONDS and snapshot.epoch >= least:
            return True
        return not begins and self._is_in_use(snapshot)

    def _is_in_use(self, snapshot: _Snapshot) -> bool:
        """Somebody has a use for it, and doesn't only keep it from being replaced."""
        return snapshot.age < OLDEST_SECONDS and self._places.any_reads(snapshot.readers)

    def _forget_snapshot(self) -> None:
        if not len(self._places):
            self._free_older()
            if self._snapshot is not None:
                self._snapshot.content = None  # somebody who lost its place may hold it still
            self._snapshot = None

    def _free_older(self) -> None:
        if self._older is not None:
            self._older.content = None
            self._older = None

    async def _take_snapshot(self) -> _Snapshot:
        metadata, tensors, infos = await self._get_current_state_from_host_process()
        parameters = sum(info.role is TensorRole.PARAMETER for info in infos)
        layout = StateLayout.of(tensors, parameters=parameters, exact=self.is_exact)
        said: Any = self.serializer.loads(metadata)
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(None, layout.pack, tensors)
        return _Snapshot(
            epoch=int(said["epoch"]),
            layout=layout,
            content=memoryview(content).toreadonly(),
            metadata=metadata,
            infos=infos,
            taken_at=time.monotonic(),
        )
