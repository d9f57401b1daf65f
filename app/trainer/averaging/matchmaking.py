"""hivemind's search for a group, without offenders and without leaders that lie.

A leader tells all members what each of them said about itself: bandwidth, mode and its own data.
From that each member computes who averages which part, so a leader that calls the others clients
would average everything alone. A member can check what is said of itself.
"""

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.p2p import P2PContext, P2PHandlerError, PeerID
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    BAD_GROUP_ID,
    PROTOCOL_VIOLATION,
    JoinRequest,
    MessageFromLeader,
)
from typing_extensions import override

from app.p2p import calls
from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import Evictions

SLOWEST, FASTEST = 1e-6, 1e12
"""Bandwidths that hivemind can divide a vector by; it knows no unit."""

MODES = frozenset({0, 1, 2})
"""Of hivemind's `AveragingMode`."""

OnLie = Callable[[PeerID, PartFault, bytes], None]
"""Called with a leader, its fault and the group's id."""


class RefusedGroupError(P2PHandlerError):
    """hivemind takes it for a leader that refused us, and asks the next one."""


class GuardedMatchmaking(Matchmaking):
    """In place of hivemind's, in the averager's process."""

    def __init__(
        self, *arguments: Any, evictions: Evictions, on_lie: OnLie, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._evictions = evictions
        self._on_lie = on_lie

    @override
    async def _request_join_group(self, leader: PeerID) -> GroupInfo | None:
        # also for a leader that another one recommends
        if leader.to_base58() in self._evictions:
            return None
        return await super()._request_join_group(leader)

    @override
    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        """A peer asks us, as the leader, for a place in our group."""
        if context.remote_id.to_base58() in self._evictions:
            yield MessageFromLeader(code=BAD_GROUP_ID)
        elif not is_introduction(request.gather):
            yield MessageFromLeader(code=PROTOCOL_VIOLATION)
        else:
            async for reply in super().rpc_join_group(request, context):
                yield reply

    @override
    async def follower_assemble_group(
        self, leader: PeerID, message: MessageFromLeader
    ) -> GroupInfo:
        """Take the group that a leader assembled. Raises `RefusedGroupError`."""
        members = list(message.ordered_peer_ids)
        gathered = list(message.gathered)
        own: Any = self.peer_id  # hivemind's annotation is wider
        step = self.step_control
        introduced = dict(zip(members, gathered, strict=False)).get(own.to_bytes())
        is_complete = len(set(members)) == len(members) == len(gathered)
        if not is_complete or step is None or introduced != step.data_for_gather:
            self._on_lie(leader, PartFault.GROUP, message.group_id)
            raise RefusedGroupError(f"{leader} changed what the members of its group said")
        # whose words these are can't be told: a plain leader passes on whatever it is told
        if not all(map(is_introduction, gathered)):
            raise RefusedGroupError(f"a member of {leader}'s group says nothing sensible")
        most = self.target_group_size
        if most is not None and len(members) > most:
            raise RefusedGroupError(f"{leader}'s group has {len(members)} members")
        return await super().follower_assemble_group(leader, message)


def is_introduction(packed: bytes) -> bool:
    """What a member says of itself: its bandwidth, its mode, and packed data of its own."""
    told = calls.unpacked(packed)
    if not isinstance(told, list) or len(told) != 3:
        return False
    bandwidth, mode, data = told
    is_plausible = bandwidth is None or (
        isinstance(bandwidth, int | float)
        and math.isfinite(bandwidth)
        and (bandwidth == 0 or SLOWEST <= bandwidth <= FASTEST)
    )
    garbage = object()
    is_readable = isinstance(data, bytes) and calls.unpacked(data, malformed=garbage) is not garbage
    return is_plausible and isinstance(mode, int) and mode in MODES and is_readable
