"""hivemind's all-reduce, with each part judged where it arrives (see `guard`).

What goes over the network is hivemind's, unchanged: a plain peer that behaves notices nothing.
A member whose part breaks a bound is treated like one that stopped sending: the others' average
goes on without it. A reducer whose average breaks a bound is treated like one that failed: our
own values take the place of its average.
"""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, AsyncIterator  # noqa: UP035  hivemind knows typing's iterator only

import torch
from hivemind.averaging.allreduce import AllReduceRunner
from hivemind.averaging.partition import AllreduceException, BannedException, TensorPartReducer
from hivemind.compression import deserialize_torch_tensor, serialize_torch_tensor
from hivemind.p2p import P2PContext, P2PDaemonError, P2PHandlerError, PeerID

# hivemind takes the messages of a call from its annotations, so they stand there.
from hivemind.proto.averaging_pb2 import AVERAGED_PART, PROTOCOL_VIOLATION, AveragingData  # type: ignore[attr-defined]
from hivemind.utils.asyncio import amap_in_executor
from typing_extensions import override

from app.p2p.sightings import PartFault
from app.trainer.averaging.guard import Bounds, Part

MOST_BYTES_A_VALUE = 8
"""Of a serialized part: float64 at most, whatever the codec."""

LEAST_VALUES, LEAST_SHARE = 2000, 0.25
"""How many values, and which share of a member's values in a round, must point against ours until
the member is named. Fewer are left out as well, but honest noise does that in small tensors."""


class FaultyPartError(AllreduceException):
    """A member sent what the bounds refuse; hivemind bans it for this round."""

    def __init__(self, fault: PartFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Against:
    """How many of each member's values in a round, of all the parts of given shapes, pointed away
    from ours."""

    def __init__(self, shapes: Sequence[torch.Size]) -> None:
        self._least = max(LEAST_VALUES, LEAST_SHARE * sum(map(math.prod, shapes)))
        self._values: Counter[int] = Counter()

    def is_no_chance(self, member: int, values: int) -> bool:
        """Add the values of one part; returns whether there are too many for honest noise."""
        self._values[member] += values
        return self._values[member] >= self._least


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
        self._against = Against(part_shapes)
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
        if self.finished.is_set():
            raise AllreduceException("the round ended before this part's turn")
        if self.sender_failed_after[sender_index] != math.inf:
            raise BannedException(f"sender {sender_index} was banned in background")
        current = self.current_part_future
        self._parts.append(Part(sender=sender_index, values=tensor_part.float(), weight=weight))
        self.current_part_accumulated_from += 1
        self.check_current_part_finished()
        # A member who hangs up while it waits must not cancel the average of all the others.
        average: torch.Tensor = await asyncio.shield(current)
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

    @override
    def check_current_part_finished(self) -> None:
        if self.current_part_accumulated_from < self.num_current_senders:
            return
        own = next((each for each in self._parts if each.sender == self._own_sender), None)
        if self._parts:
            made = self._bounds.average(self._parts, None if own is None else own.values)
            for sender, fault in made.faults.items():
                size = self._parts[0].values.numel()
                if fault is not PartFault.AGAINST or self._against.is_no_chance(sender, size):
                    self._accuse(sender, fault)
            self.current_part_future.set_result(made.values)
        else:  # all its senders failed
            self.current_part_future.set_result(self.accumulator)
        self.reset_accumulators()


class GuardedRunner(AllReduceRunner):
    """One round. Created and used like hivemind's, in the averager's process.

    bounds: what is believed. on_fault: called with a peer and its fault, once for each such pair.
    left_out: senders whose parts don't count.
    """

    def __init__(
        self,
        *,
        bounds: Bounds,
        on_fault: Callable[[PeerID, PartFault], None],
        left_out: Collection[PeerID] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._bounds = bounds
        self._on_fault = on_fault
        self._left_out = frozenset(left_out) & frozenset(self.sender_peer_ids)
        self._called: set[PeerID] = set()
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
        self._against = [Against([part.shape for part in parts]) for parts in self._own_parts]
        setattr(self.tensor_part_container, self._register.__name__, self._register_checked)

    @property
    def arrived(self) -> float:
        """Share of the average's parts that came, 0 to 1; 0 where no other member sent one."""
        parts, own = self.tensor_part_container, self.tensor_part_reducer.part_shapes
        foreign = parts.total_size - sum(map(math.prod, own))
        missing = parts.failed_size
        return 0.0 if missing >= foreign > 0 else 1.0 - missing / max(1, parts.total_size)

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
            self._accuse(peer_id, PartFault.AVERAGE)
            raise FaultyPartError(PartFault.SHAPE)
        own = parts[part_index].float()
        typical = self._own_scale * own.numel() ** 0.5
        believed, fault = self._bounds.check_average(own + delta.float(), own, typical)
        if fault is PartFault.NOT_FINITE and peer_id != self.peer_id:
            self._accuse(peer_id, PartFault.AVERAGE)
            raise FaultyPartError(fault)
        if fault is not None and self._against[peer_index].is_no_chance(0, own.numel()):
            self._accuse(peer_id, fault)
        self._register(peer_index, part_index, (believed - own).to(delta.dtype))

    @override
    async def rpc_aggregate_part(
        self, stream: AsyncIterator[AveragingData], context: P2PContext
    ) -> AsyncIterator[AveragingData]:
        """A member sends its parts of our share; one stream each, or a second one would count in
        the place of other members."""
        sender = context.remote_id
        if sender not in self.sender_peer_ids or sender in self._called | self._left_out:
            yield AveragingData(code=PROTOCOL_VIOLATION)
            return
        self._called.add(sender)
        async for message in super().rpc_aggregate_part(stream, context):
            yield message

    @override
    async def _handle_missing_senders(self) -> None:
        for peer_id in self._left_out:
            await self._ban_sender(peer_id)
        self.active_senders |= self._left_out  # nobody waits for them
        if len(self.active_senders) == len(self.sender_peer_ids):
            self.all_senders_started.set()
        await super()._handle_missing_senders()
        for peer_id in self.banned_senders - self.active_senders:
            self._accuse(peer_id, PartFault.SILENT)

    @override
    async def _communicate_with_peer(self, peer_id: PeerID) -> None:
        try:
            await super()._communicate_with_peer(peer_id)
        except (TimeoutError, OSError, EOFError, P2PDaemonError, P2PHandlerError):
            self._accuse(peer_id, PartFault.SILENT)
            raise

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
        except TimeoutError:
            self._accuse_sender(sender_index, PartFault.SILENT)
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
