"""Sends our state to newcomers, from the averager's process.

What is sent is of a snapshot, and so of one moment, which newcomers of the next minute share.
`app.p2p.states.wire` has the messages.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, AsyncIterator, ClassVar  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.averaging.averager import DecentralizedAverager
from hivemind.compression.base import TensorRole
from hivemind.p2p import P2PContext

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.p2p.states.places import DownloadPlaces
from app.p2p.states.wire import CHUNK_BYTES, Header, StateRefusal, Wanted
from app.trainer.joining.layout import StateLayout
from app.trainer.peer.bandwidth import UPLOAD
from app.trainer.peer.traffic import Traffic

FRESH_SECONDS = 60.0
"""A snapshot is sent to further newcomers for as long as this, or as somebody downloads it. Then
its memory is freed."""

OLDEST_SECONDS = 1800.0
"""A snapshot that is older is replaced, even while somebody downloads it."""


@dataclass(kw_only=True)
class _Snapshot:
    """Our state at one moment."""

    epoch: int
    layout: StateLayout
    content: memoryview
    taken_at: float
    """Monotonic time."""


class StateDonor(DecentralizedAverager):
    """Base of an averager that gives its state away."""

    traffic: ClassVar[Traffic]
    """Counts what is sent."""

    is_exact: ClassVar[bool] = False
    """A newcomer must have the weights of the swarm's very epoch: no older snapshot is sent, unless
    somebody is downloading it."""

    _snapshot: _Snapshot | None = None
    _taking: asyncio.Lock | None = None
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
        try:
            async for reply in self._replies(wanted):
                size = len(reply.metadata)
                if not self._places.is_kept(context.remote_id, place, size=size):
                    return  # another peer has got it
                yield reply
        finally:
            if self._places.give_back(context.remote_id, place):
                asyncio.get_running_loop().call_later(FRESH_SECONDS, self._forget_snapshot)

    async def _replies(self, wanted: Wanted) -> AsyncIterator[ExpertResponse]:
        snapshot = await self._current_snapshot()
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
                part = snapshot.content[offset : min(offset + CHUNK_BYTES, end, size)]
                await UPLOAD.wait(len(part))
                yield ExpertResponse(metadata=bytes(part))
                self.traffic.count_sent(len(part))

    @property
    def _places(self) -> DownloadPlaces:
        if self._downloads is None:
            self._downloads = DownloadPlaces()
        return self._downloads

    async def _current_snapshot(self) -> _Snapshot:
        if self._taking is None:
            self._taking = asyncio.Lock()
        async with self._taking:
            kept, now = self._snapshot, time.monotonic()
            if kept is not None:
                age, is_shared = now - kept.taken_at, len(self._places) > 1
                is_past = self.is_exact and kept.epoch < self.state_sharing_priority
                is_fresh = age < FRESH_SECONDS and not is_past
                if is_fresh or (is_shared and age < OLDEST_SECONDS):
                    return kept
            self._snapshot = None  # before the next one takes its memory
            self._snapshot = await self._take_snapshot()
            return self._snapshot

    def _forget_snapshot(self) -> None:
        if not len(self._places):
            self._snapshot = None

    async def _take_snapshot(self) -> _Snapshot:
        metadata, tensors, infos = await self._get_current_state_from_host_process()
        parameters = sum(info.role is TensorRole.PARAMETER for info in infos)
        layout = StateLayout.of(tensors, parameters=parameters)
        said: Any = self.serializer.loads(metadata)
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(None, layout.pack, tensors)
        return _Snapshot(
            epoch=int(said["epoch"]),
            layout=layout,
            content=memoryview(content).toreadonly(),
            taken_at=time.monotonic(),
        )
