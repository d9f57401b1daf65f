"""A door's answer to who wants a state when nobody trains: its newest snapshot."""

import asyncio
import logging
from typing import AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

from hivemind.p2p import P2PContext, ServicerBase

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.organiser.admission import Admission
from app.p2p.states.folder import KeptSnapshotFile
from app.p2p.states.places import DownloadPlaces
from app.p2p.states.wire import CHUNK_BYTES, StateRefusal, Wanted

log = logging.getLogger(__name__)


class SnapshotServicer(ServicerBase):
    """Sends `snapshot` to members, as a donor sends its state. Its namespace is the run id."""

    def __init__(self, admission: Admission) -> None:
        """admission: who may download."""
        self.snapshot: KeptSnapshotFile | None = None
        self._admission = admission
        self._places = DownloadPlaces()

    async def rpc_send_state(
        self, request: ExpertRequest, context: P2PContext
    ) -> AsyncIterator[ExpertResponse]:
        """Send what a newcomer asks for, or a `StateRefusal`."""
        peer, snapshot = context.remote_id, self.snapshot
        try:
            wanted = Wanted.parse(request.metadata)
        except ValueError:
            yield StateRefusal.MALFORMED.pack()
            return
        if not self._admission.may_join(peer.to_bytes()):
            yield StateRefusal.STRANGER.pack()
            return
        if snapshot is None:
            yield StateRefusal.UNWILLING.pack()
            return
        if wanted.layout not in ("", snapshot.header.layout):
            yield StateRefusal.OTHER_MODEL.pack()
            return
        if not wanted.ranges:
            yield snapshot.header.pack()
            return
        place = self._places.take(peer)
        if place is None:
            yield StateRefusal.BUSY.pack()
            return
        try:
            yield snapshot.header.pack()
            async for part in _parts(snapshot, wanted):
                if not self._places.is_kept(peer, place, size=len(part)):
                    return  # another peer has got it
                yield ExpertResponse(metadata=part)
        finally:
            self._places.give_back(peer, place)


async def _parts(snapshot: KeptSnapshotFile, wanted: Wanted) -> AsyncIterator[bytes]:
    size = snapshot.header.size
    for begin, end in wanted.ranges:
        for offset in range(begin, min(end, size), CHUNK_BYTES):
            last = min(offset + CHUNK_BYTES, end, size)
            try:
                yield await asyncio.to_thread(snapshot.read, offset, last)
            except OSError as error:
                log.warning("the snapshot %s can't be read: %s", snapshot.path, error)
                return
