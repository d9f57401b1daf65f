"""In a closed swarm our averagers deal with members of its roster alone.

hivemind's averagers answer whoever calls them, and take part in whatever group their leader
gathers. The peer id of a caller is genuine: libp2p has checked that it holds the key.
"""

from collections.abc import Sequence
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import torch
from hivemind.averaging.averager import DecentralizedAverager
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.partition import AllreduceException
from hivemind.p2p import P2PContext, PeerID

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    BAD_GROUP_ID,
    AveragingData,
    DownloadData,
    DownloadRequest,
    JoinRequest,
    MessageFromLeader,
)
from hivemind.proto.runtime_pb2 import ExpertRequest, ExpertResponse  # type: ignore[attr-defined]

from app.organiser.admission import Admission
from app.p2p.states.wire import StateRefusal
from app.trainer.joining.donor import StateDonor


class MembersOnly(DecentralizedAverager):
    """Base of our averagers. In an open swarm everybody is a member."""

    def __init__(self, *arguments: Any, admission: Admission, **options: Any) -> None:
        """admission: who may take part, asked in the averager's process. The others: as hivemind's
        averager takes them."""
        self._admission = admission  # before hivemind forks the averager's process
        super().__init__(*arguments, **options)

    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        """A peer asks us, as the leader, for a place in our group."""
        if not self._may_join(context.remote_id):
            yield MessageFromLeader(code=BAD_GROUP_ID)
            return
        async for reply in super().rpc_join_group(request, context):
            yield reply

    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        """A member of our group sends a part of its tensors."""
        if not self._may_join(context.remote_id):
            yield AveragingData(code=BAD_GROUP_ID)
            return
        async for reply in super().rpc_aggregate_part(stream, context):
            yield reply

    async def rpc_download_state(
        self, request: DownloadRequest, context: P2PContext
    ) -> AsyncIterator[DownloadData]:
        """A newcomer asks for our state; a stranger receives an empty answer."""
        if not self._may_join(context.remote_id):
            return
        async for reply in super().rpc_download_state(request, context):
            yield reply

    async def _run_allreduce_inplace_(
        self, tensors: Sequence[torch.Tensor], group_info: GroupInfo, *rest: Any, **options: Any
    ) -> None:
        """As our base's; no round with a stranger, whom a plain peer as the leader lets in."""
        if not all(map(self._may_join, group_info.peer_ids)):
            raise AllreduceException("the group has a peer that isn't on the swarm's roster")
        await super()._run_allreduce_inplace_(tensors, group_info, *rest, **options)

    def _may_join(self, peer_id: PeerID) -> bool:
        return self._admission.may_join(peer_id.to_bytes())


class MembersOnlyDonor(MembersOnly, StateDonor):
    """The same, of an averager that gives its state away."""

    async def rpc_send_state(
        self, request: ExpertRequest, context: P2PContext
    ) -> AsyncIterator[ExpertResponse]:
        """A newcomer of our kind asks for our state."""
        if not self._may_join(context.remote_id):
            yield StateRefusal.STRANGER.pack()
            return
        async for reply in super().rpc_send_state(request, context):
            yield reply
