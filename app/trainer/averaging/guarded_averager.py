"""hivemind's averagers with guarded rounds: see `guarded_allreduce` and `matchmaking`."""

import asyncio
import functools
import multiprocessing
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import torch
from hivemind.averaging import averager
from hivemind.averaging.allreduce import AveragingMode
from hivemind.averaging.averager import DecentralizedAverager
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.p2p import P2PContext, PeerID

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import AveragingData  # type: ignore[attr-defined]
from hivemind.utils.asyncio import achain, as_aiter, azip
from hivemind.utils.timed_storage import get_dht_time
from typing_extensions import override

from app.p2p.sightings import PartFault
from app.trainer.averaging.guard import Bounds
from app.trainer.averaging.guarded_allreduce import GuardedRunner
from app.trainer.averaging.matchmaking import MOST_AWAITED, GuardedMatchmaking
from app.trainer.averaging.offences import Evictions, Offence, Offences


@dataclass(frozen=True, kw_only=True)
class RoundGuard:
    """What an averager believes, and where it tells who broke it."""

    bounds: Bounds
    offences: Offences


class GuardedAveraging(DecentralizedAverager):
    """Base of our averagers: their rounds are guarded, and offenders kept out for a while."""

    _matchmaking: GuardedMatchmaking

    def __init__(self, *arguments: Any, guard: RoundGuard, **options: Any) -> None:
        """guard: of this averager's rounds. The others: as hivemind's averager takes them."""
        self._guard = guard  # before hivemind forks the averager's process
        self._evictions = Evictions()
        self._arrived = multiprocessing.get_context("fork").Value("d", 1.0)
        super().__init__(*arguments, **options)

    @property
    def arrived(self) -> float:
        """Share of the average's parts that arrived in the last round, 0 to 1; our own values took
        the place of the others. Known in all processes."""
        return float(self._arrived.value)

    def await_members(self, peers: Iterable[str]) -> None:
        """Whom to wait for where we lead a group: peer ids in base58. For the main thread."""
        self._outer_pipe.send(("_await_members", [list(peers)[:MOST_AWAITED]], {}))

    async def _await_members(self, peers: Iterable[str]) -> None:
        self._matchmaking.await_members(peers)

    @override
    def run(self) -> None:
        """hivemind's, in the averager's own process, where it makes its `Matchmaking`."""
        made = functools.partial(
            GuardedMatchmaking, evictions=self._evictions, on_lie=self._note_fault
        )
        setattr(averager, Matchmaking.__name__, made)
        super().run()

    @override
    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        """hivemind's. All callers wait for one future until our round begins: who hangs up before
        must not cancel it for the others and us."""
        first = await anext(stream)
        if first.group_id not in self._running_groups:
            await self._pending_groups_registered.wait()
        begun = self._running_groups.get(first.group_id)
        if begun is not None:
            await asyncio.shield(begun)
        async for message in super().rpc_aggregate_part(achain(as_aiter(first), stream), context):
            yield message

    async def _run_allreduce_inplace_(
        self,
        tensors: Sequence[torch.Tensor],
        group_info: GroupInfo,
        group_id: bytes | None = None,
        **options: Any,
    ) -> None:
        """hivemind's, with a guarded runner."""
        group_id = group_info.group_id if group_id is None else group_id
        runner = GuardedRunner(
            bounds=self._guard.bounds,
            on_fault=functools.partial(self._note_fault, group_id=group_id),
            left_out=[peer for peer in group_info.peer_ids if self._is_evicted(peer)],
            p2p=self._p2p,
            servicer_type=type(self),
            prefix=self.prefix,
            tensors=tensors,
            group_id=group_id,
            ordered_peer_ids=group_info.peer_ids,
            **options,
        )
        self._running_groups[group_id].set_result(runner)
        if runner.modes[group_info.peer_ids.index(self.peer_id)] == AveragingMode.AUX:
            async for _ in runner:
                pass  # who only helps receives nothing
            return
        async for tensor, update in azip(as_aiter(*tensors), runner):
            tensor.add_(update, alpha=self._averaging_alpha)
            self.last_updated = get_dht_time()
            self._state_updated.set()
        self._arrived.value = runner.arrived
        heard = (peer.to_base58() for peer in runner.active_senders - runner.banned_senders)
        self._evictions.end_round(group_id, heard)

    def _is_evicted(self, peer_id: PeerID) -> bool:
        return peer_id.to_base58() in self._evictions

    def _note_fault(self, peer_id: PeerID, fault: PartFault, group_id: bytes) -> None:
        name, now = peer_id.to_base58(), time.time()
        self._evictions.note(name, fault, group_id=group_id)
        left = self._evictions.seconds_left(name)
        until = now + left if left else None
        self._guard.offences.add(Offence(peer_id=name, fault=fault, time=now, evicted_until=until))
