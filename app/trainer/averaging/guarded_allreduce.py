"""hivemind's all-reduce, with each part judged where it arrives (see `guard`).

What goes over the network is hivemind's, unchanged: a plain peer that behaves notices nothing.
A member whose part breaks a bound is treated like one that stopped sending: the others' average
goes on without it. A reducer whose average breaks a bound is treated like one that failed: our
own values take the place of its average.
"""

import asyncio
import contextlib
import functools
import itertools
import math
import multiprocessing
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import torch
from hivemind.averaging.allreduce import AllReduceRunner, AveragingMode
from hivemind.averaging.averager import DecentralizedAverager
from hivemind.averaging.group_info import GroupInfo
from hivemind.averaging.key_manager import GroupKeyManager
from hivemind.averaging.partition import AllreduceException, BannedException, TensorPartReducer
from hivemind.compression import deserialize_torch_tensor, serialize_torch_tensor
from hivemind.p2p import P2PContext, PeerID

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import (  # type: ignore[attr-defined]
    AVERAGED_PART,
    BAD_GROUP_ID,
    AveragingData,
    JoinRequest,
    MessageFromLeader,
)
from hivemind.utils.asyncio import amap_in_executor, as_aiter, azip
from hivemind.utils.timed_storage import get_dht_time
from typing_extensions import override

from app.trainer.averaging.guard import Bounds, Part, PartFault

MOST_BYTES_A_VALUE = 8
"""Of a serialized part: float64 at most, whatever the codec."""

MOST_OFFENCES = 1000
"""That wait to be read; further ones are dropped."""


@dataclass(frozen=True, kw_only=True)
class Offence:
    """What a member of a round did."""

    peer_id: str
    fault: PartFault


class Offences:
    """Carries offences from hivemind's averager, a forked process, to the trainer."""

    def __init__(self) -> None:
        # like hivemind's averagers, its lock only goes from process to process by a fork
        self._queue: Any = multiprocessing.get_context("fork").Queue(MOST_OFFENCES)

    def add(self, offence: Offence) -> None:
        """From the averager's process."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(offence)

    def take(self) -> list[Offence]:
        """All that were added since the last call."""
        found = []
        while True:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """Nothing is added or taken after it."""
        self._queue.close()
        self._queue.cancel_join_thread()


@dataclass(frozen=True, kw_only=True)
class RoundGuard:
    """What an averager believes, and where it tells who broke it."""

    bounds: Bounds
    offences: Offences


class FaultyPartError(AllreduceException):
    """A member sent what the bounds refuse; hivemind bans it for this round."""

    def __init__(self, fault: PartFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class GuardedReducer(TensorPartReducer):
    """Averages our share of the tensors, believing no more than the bounds allow.

    Unlike hivemind's it holds a part of each sender until all of them are there, instead of
    adding it up at once: a part is at most half a megabyte.
    """

    def __init__(
        self,
        part_shapes: Sequence[torch.Size],
        num_senders: int,
        *,
        bounds: Bounds,
        own_sender: int | None,
        accuse: Callable[[int, PartFault], None],
    ) -> None:
        self._bounds = bounds
        self._own_sender = own_sender
        self._accuse = accuse
        self._parts: list[Part] = []
        super().__init__(part_shapes, num_senders)

    @override
    def reset_accumulators(self) -> None:
        self._parts = []
        super().reset_accumulators()

    @override
    async def accumulate_part(
        self, sender_index: int, part_index: int, tensor_part: torch.Tensor, weight: float = 1.0
    ) -> torch.Tensor:
        """Wait for everybody's part, then return the average. Raises `FaultyPartError`."""
        fault = self._fault_of(part_index, tensor_part, weight)
        if fault is not None:
            raise FaultyPartError(fault)
        self.num_parts_received[sender_index] += 1
        while part_index > self.current_part_index:
            await self._wait_for_current_part()
        if self.sender_failed_after[sender_index] != math.inf:
            raise BannedException(f"sender {sender_index} was banned in background")
        current = self.current_part_future
        self._parts.append(Part(sender=sender_index, values=tensor_part.float(), weight=weight))
        self.current_part_accumulated_from += 1
        self.check_current_part_finished()
        average: torch.Tensor = await current
        return average

    def _fault_of(self, index: int, part: torch.Tensor, weight: float) -> PartFault | None:
        if index >= self.num_parts or part.shape != self.part_shapes[index]:
            return PartFault.SHAPE
        return self._bounds.check(part, weight)

    async def _wait_for_current_part(self) -> None:
        finished = asyncio.create_task(self.finished.wait())
        try:
            await asyncio.wait(
                {self.current_part_future, finished}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            finished.cancel()
        if self.finished.is_set():
            raise AllreduceException("the round ended before this part's turn")

    @override
    def check_current_part_finished(self) -> None:
        if self.current_part_accumulated_from < self.num_current_senders:
            return
        own = next((each for each in self._parts if each.sender == self._own_sender), None)
        if self._parts:
            made = self._bounds.average(self._parts, None if own is None else own.values)
            for sender, fault in made.faults.items():
                self._accuse(sender, fault)
            self.current_part_future.set_result(made.values)
        else:  # all its senders failed
            self.current_part_future.set_result(self.accumulator)
        self.reset_accumulators()


class GuardedRunner(AllReduceRunner):
    """One round. Created and used like hivemind's, in the averager's process.

    bounds: what is believed. on_fault: called with a peer and its fault, once for each such pair.
    """

    def __init__(
        self, *, bounds: Bounds, on_fault: Callable[[PeerID, PartFault], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._bounds = bounds
        self._on_fault = on_fault
        self._accused: set[tuple[PeerID, PartFault]] = set()
        own: Any = self.peer_id
        is_sender = own in self.sender_peer_ids
        self.tensor_part_reducer.num_parts = 0  # else it complains that it received none
        self.tensor_part_reducer.finalize()
        self.tensor_part_reducer = GuardedReducer(
            tuple(part.shape for part in self.parts_for_local_averaging),
            len(self.sender_peer_ids),
            bounds=bounds,
            own_sender=self.sender_peer_ids.index(own) if is_sender else None,
            accuse=self._accuse_sender,
        )
        self._own_scale = _root_mean_square(options["tensors"])
        self._register = self.tensor_part_container.register_processed_part
        self._own_parts = [
            [part for part, _ in parts]
            for parts in self.tensor_part_container._input_parts_by_peer  # noqa: SLF001
        ]
        setattr(self.tensor_part_container, self._register.__name__, self._register_checked)

    def _accuse_sender(self, sender: int, fault: PartFault) -> None:
        self._accuse(self.sender_peer_ids[sender], fault)

    def _accuse(self, peer_id: PeerID, fault: PartFault) -> None:
        if peer_id != self.peer_id and (peer_id, fault) not in self._accused:
            self._accused.add((peer_id, fault))
            self._on_fault(peer_id, fault)

    def _register_checked(self, peer_index: int, part_index: int, delta: torch.Tensor) -> None:
        """Take a reducer's ``average - own part``, unless it can't be one."""
        parts = self._own_parts[peer_index]
        peer_id = self.ordered_peer_ids[peer_index]
        if part_index >= len(parts) or delta.shape != parts[part_index].shape:
            self._accuse(peer_id, PartFault.SHAPE)
            raise FaultyPartError(PartFault.SHAPE)
        own = parts[part_index].float()
        typical = self._own_scale * own.numel() ** 0.5
        believed, fault = self._bounds.check_average(own + delta.float(), own, typical)
        if fault is not None and peer_id != self.peer_id:
            self._accuse(peer_id, fault)
            raise FaultyPartError(fault)
        self._register(peer_index, part_index, (believed - own).to(delta.dtype))

    @override
    async def _accumulate_parts_streaming(
        self, stream: AsyncIterator[Any], sender_index: int
    ) -> AsyncIterator[Any]:
        """hivemind's, with the size checked before a part is unpacked."""
        reducer, index = self.tensor_part_reducer, 0
        arrived = itertools.count()
        loop = asyncio.get_running_loop()

        def unpacked(message: Any) -> tuple[torch.Tensor | None, float, int]:
            # None instead of an error: nobody would ask how the parts after this one went
            part = message.tensor_part
            is_sound = self._has_size(part, next(arrived))
            values = deserialize_torch_tensor(part) if is_sound else None
            return values, message.weight, part.compression

        try:
            async for received, weight, codec in amap_in_executor(
                unpacked, stream, max_prefetch=self.tensor_part_container.prefetch
            ):
                part = _sound(received)
                try:
                    average = await reducer.accumulate_part(
                        sender_index, index, part, weight=weight
                    )
                except BannedException:
                    break
                index += 1
                delta = average - part
                packed = await loop.run_in_executor(None, serialize_torch_tensor, delta, codec)
                yield AveragingData(code=AVERAGED_PART, tensor_part=packed)
        except FaultyPartError as error:
            self._accuse_sender(sender_index, error.fault)
            raise
        finally:
            if index != reducer.num_parts:
                await self._ban_sender(self.sender_peer_ids[sender_index])

    def _has_size(self, part: Any, index: int) -> bool:
        """Whether a serialized part is what we wait for, before its claims cost memory."""
        shapes = self.tensor_part_reducer.part_shapes
        if index >= len(shapes):
            return False
        values = shapes[index].numel()
        most = MOST_BYTES_A_VALUE * (values + 1024)
        return math.prod(part.size) == values and len(part.buffer) <= most


def _sound(part: torch.Tensor | None) -> torch.Tensor:
    """A part that has the right size. Raises `FaultyPartError`."""
    if part is None:
        raise FaultyPartError(PartFault.SHAPE)
    return part


def _root_mean_square(tensors: Sequence[torch.Tensor]) -> float:
    count = sum(tensor.numel() for tensor in tensors)
    total = math.fsum(float(tensor.float().norm()) ** 2 for tensor in tensors)
    return math.sqrt(total / count) if count else 0.0


class GuardedAveraging(DecentralizedAverager):
    """Base of our averagers: their rounds are guarded, and offenders kept out for a while."""

    def __init__(self, *arguments: Any, guard: RoundGuard, **options: Any) -> None:
        """guard: of this averager's rounds. The others: as hivemind's averager takes them."""
        self._guard = guard  # before hivemind forks the averager's process
        super().__init__(*arguments, **options)

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
            on_fault=self._note_fault,
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

    def _note_fault(self, peer_id: PeerID, fault: PartFault) -> None:
        if fault in EVICTING:
            _strikes[peer_id] += 1
            if _strikes[peer_id] >= STRIKES:
                EVICTED[peer_id] = time.monotonic() + EVICTION_SECONDS
        self._guard.offences.add(Offence(peer_id=peer_id.to_base58(), fault=fault))

    async def rpc_join_group(
        self, request: JoinRequest, context: P2PContext
    ) -> AsyncIterator[MessageFromLeader]:
        """A peer asks us, as the leader, for a place in our group."""
        if is_evicted(context.remote_id):
            yield MessageFromLeader(code=BAD_GROUP_ID)
            return
        async for reply in super().rpc_join_group(request, context):
            yield reply


EVICTING = frozenset(PartFault) - {PartFault.FAR, PartFault.COPY}
"""A peer that lost its swarm for a while has other parameters, and is no attacker."""

STRIKES = 2
"""Rounds with a fault until a peer is kept out; any peer may have one bad round."""

_strikes: Counter[PeerID] = Counter()

EVICTED: dict[PeerID, float] = {}
"""In an averager's process: until when (monotonic seconds) we share no group with a peer."""

EVICTION_SECONDS = 600.0


def is_evicted(peer_id: PeerID) -> bool:
    """Whether a peer broke a bound lately."""
    return EVICTED.get(peer_id, 0.0) > time.monotonic()


def follow_no_offender() -> None:
    """From now on, averagers of this process and of its forks look for groups without offenders."""
    look = GroupKeyManager.get_averagers
    if hasattr(look, "__wrapped__"):
        return

    @functools.wraps(look)
    async def without_offenders(self: GroupKeyManager, *args: Any, **options: Any) -> Any:
        found = await look(self, *args, **options)
        return [entry for entry in found if not is_evicted(entry[0])]

    setattr(GroupKeyManager, look.__name__, without_offenders)
