"""hivemind's search for a group, without offenders, without leaders that lie, and without splits.

A leader tells all members what each of them said about itself: bandwidth, mode and its own data.
From that each member computes who averages which part, so a leader that calls the others clients
would average everything alone. A member can check what is said of itself.

WORKAROUND (hivemind 1.1.12): a leader closes its group when its matchmaking time is over, whoever
is missing, and whoever comes later forms a second group, even with peers of the next epoch. Here
the leader knows whom to wait for, and waits for as long again; with everybody there it closes at
once. Peers say which epoch they are in, and a leader takes those of its own. All that goes over
the network is hivemind's: a plain peer sees a leader with a later time, which any peer may choose.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from hivemind.averaging.control import StepControl
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.p2p import P2PContext, P2PHandlerError, PeerID
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    BAD_GROUP_ID,
    BAD_GROUP_KEY,
    PROTOCOL_VIOLATION,
    JoinRequest,
    MessageFromLeader,
)
from hivemind.utils.asyncio import cancel_and_wait
from hivemind.utils.timed_storage import get_dht_time
from typing_extensions import override

from app.p2p import calls
from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import Evictions

SLOWEST, FASTEST = 1e-6, 1e12
"""Bandwidths that hivemind can divide a vector by; it knows no unit."""

MODES = frozenset({0, 1, 2})
"""Of hivemind's `AveragingMode`."""

MOST_AWAITED = 200
"""Peers; the message that names them stays small."""

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
        self._awaited: frozenset[PeerID] = frozenset()
        self._changed = asyncio.Event()
        """Somebody has joined our group, or others are awaited."""

    def await_members(self, peers: Iterable[str]) -> None:
        """As the leader of a group, wait for these: peer ids in base58."""
        self._awaited = frozenset(map(PeerID.from_base58, peers))
        self._changed.set()

    @override
    async def look_for_group(self, step: StepControl) -> GroupInfo | None:
        """As hivemind's. Raises what hivemind's raises."""
        if not step.began_allreduce:
            step.scheduled_time = self._latest(step)
        closing = asyncio.create_task(self._close_when_complete(step))
        try:
            return await super().look_for_group(step)
        finally:
            await cancel_and_wait(closing)

    def _latest(self, step: StepControl) -> float:
        """When our group closes with somebody missing. Half of the round's time is left for
        averaging."""
        now: float = get_dht_time()
        later: float = min(
            step.scheduled_time + self.min_matchmaking_time, (now + step.deadline) / 2
        )
        return max(later, step.scheduled_time)

    async def _close_when_complete(self, step: StepControl) -> None:
        """Form the group that we lead once we need it and nobody is missing."""
        await step.wait_for_trigger()
        while True:
            self._changed.clear()
            async with self.lock_request_join_group:
                if self.step_control is step and self._is_complete:
                    await self.leader_assemble_group()
                    return
            await self._changed.wait()

    @property
    def _is_complete(self) -> bool:
        if self.current_leader is not None or self.assembled_group.done():
            return False
        members = {self.peer_id, *self.current_followers}
        return bool(self._awaited) and self._awaited < members

    @override
    async def _request_join_group(self, leader: PeerID) -> GroupInfo | None:
        # also for a leader that another one recommends
        if leader.to_base58() in self._evictions:
            return None
        group = await super()._request_join_group(leader)
        if group is None:
            # hivemind never asks it again in this search, but it may only have been busy
            loop = asyncio.get_running_loop()
            loop.call_later(self.request_timeout, self._forget_attempts, leader)
        return group

    def _forget_attempts(self, leader: PeerID) -> None:
        past = self.potential_leaders.past_attempts
        past -= {attempt for attempt in past if attempt[0] == leader}

    @override
    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        """A peer asks us, as the leader, for a place in our group."""
        if context.remote_id.to_base58() in self._evictions:
            yield MessageFromLeader(code=BAD_GROUP_ID)
        elif not is_introduction(request.gather):
            yield MessageFromLeader(code=PROTOCOL_VIOLATION)
        elif self._is_of_another_epoch(request.gather):
            yield MessageFromLeader(code=BAD_GROUP_KEY)
        else:
            async for reply in super().rpc_join_group(request, context):
                self._changed.set()
                yield reply

    def _is_of_another_epoch(self, introduction: bytes) -> bool:
        step = self.step_control
        own = epoch_in(step.data_for_gather) if step is not None else None
        theirs = epoch_in(introduction)
        return own is not None and theirs is not None and own != theirs

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


def epoch_in(introduction: bytes) -> int | None:
    """The epoch that a member says it is in; None where it doesn't, as a plain peer that averages
    gradients. introduction: as `is_introduction` wants it."""
    _bandwidth, _mode, data = calls.unpacked(introduction)
    said = calls.unpacked(data)
    return said if isinstance(said, int) else None
