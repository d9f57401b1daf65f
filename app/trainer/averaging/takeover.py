"""What a newcomer takes over in gradient averaging: the parameters and the optimizer's statistics.

The optimizer's settings stay those of the spec: hivemind takes them from the donor, so that a
donor could set the learning rate of all who join.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from hivemind.dht import DHT
from hivemind.optim.state_averager import TrainingStateAverager
from hivemind.p2p import P2P, PeerID
from hivemind.utils.nested import nested_flatten

from app.p2p.calls import CallError, hivemind_errors
from app.p2p.states.donors import ranked
from app.p2p.states.download import DonorCalls
from app.p2p.states.wire import CHUNK_BYTES
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.joining.layout import StateLayout
from app.trainer.joining.newcomer import Newcomer
from app.trainer.peer.bandwidth import DOWNLOAD
from app.trainer.peer.doors import Doors

LOOK_SECONDS = 15.0
"""How long the DHT process, whose reply may get lost, is waited for."""


YIELD_SECONDS = 5.0
"""How long each part of a state, 256 KiB, waits for what needs the line more. So it still arrives
at 50 kB a second, and the donor isn't taken for a slow one."""

LOOKS = 50
"""Whether it still needs the line, meanwhile."""


class OptimizerState:
    """A `LocalState`: of `hivemind.Optimizer`, in the order in which its peers send theirs."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        judge: Callable[[], float],
        step_size: float,
        exact: bool = False,
    ) -> None:
        """judge: the loss of the model as it is. step_size: as in `LocalState`. exact: as of
        `StateLayout`."""
        self._optimizer = optimizer
        self.loss = judge
        self.step_size = step_size
        self._exact = exact

    @property
    def _parameters(self) -> list[torch.Tensor]:
        groups = self._optimizer.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    @property
    def tensors(self) -> Sequence[torch.Tensor]:
        """The live ones."""
        found = nested_flatten(self._optimizer.state_dict())
        statistics = [each for each in found if isinstance(each, torch.Tensor)]
        return [*self._parameters, *statistics]

    @cached_property
    def layout(self) -> StateLayout:
        """Of `tensors`."""
        return StateLayout.of(self.tensors, parameters=len(self._parameters), exact=self._exact)

    def trial_step(self) -> None:
        """Take an optimizer step with a gradient of zero."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()
        self._optimizer.step()


class OptimizerSwarm:
    """A `SwarmView`, as the optimizer's tracker and the DHT know it."""

    def __init__(self, dht: DHT, *, averager: TrainingStateAverager, tracker: PacedTracker) -> None:
        self._dht = dht
        self._averager = averager
        self._tracker = tracker

    @property
    def epoch(self) -> int:
        """That most peers are in."""
        return int(self._tracker.global_epoch)

    @property
    def others(self) -> int:
        """Trainers beside us."""
        return max(0, self._tracker.global_progress.num_peers - 1)

    @property
    def begins(self) -> bool:
        """Nobody trains beside us, or nobody has got anywhere yet: a door may have more than we."""
        return self.others == 0 or self.epoch == 0

    async def donors(self) -> list[PeerID]:
        """See `ranked`."""
        keys = f"{self._averager.prefix}.all_averagers", self._tracker.training_progress_key
        asked = [self._dht.get(key, latest=True, return_future=True) for key in keys]
        offered, progress = await asyncio.gather(*map(_answer, asked))
        return ranked(offered, progress, own=self._dht.peer_id, epoch=self.epoch)


async def _answer(asked: Any) -> Any:
    """What the DHT holds under a key; None where nothing is found in time."""
    try:
        with hivemind_errors():
            found = await asyncio.to_thread(asked.result, LOOK_SECONDS)
    except CallError:
        return None
    return found and found.value


async def take_over(
    newcomer: Newcomer,
    dht: DHT,
    averager: CountingStateAverager,
    *,
    doors: Doors | None = None,
    behind: bool = True,
    yields: Callable[[], bool] = bool,
) -> int | None:
    """Load the swarm's state, as `Newcomer.take_over` does; where nobody can give one, a snapshot
    of the doors.

    behind: others are ahead of us, so that they are asked first. yields: whether something else
    needs the line more; then the state arrives slowly.
    """
    maddr: Any = dht.run_coroutine(DHT._get_p2p_daemon_listen_maddr)  # noqa: SLF001
    p2p = await P2P.replicate(maddr)

    async def arrived(size: int) -> None:
        averager.traffic.count_received(size)
        await DOWNLOAD.wait(size)
        for _look in range(round(LOOKS * size / CHUNK_BYTES)):
            if not yields():
                break
            await asyncio.sleep(YIELD_SECONDS / LOOKS)

    def donor(peer: PeerID) -> Any:
        return averager.get_stub(p2p, peer, namespace=averager.prefix)

    try:
        epoch: int | None = None
        if behind:
            epoch = await newcomer.take_over(DonorCalls(stub=donor, arrived=arrived))
        if epoch is None and doors is not None:
            calls = DonorCalls(stub=partial(doors.stub, p2p), arrived=arrived)
            own = int(averager.local_epoch)
            epoch = await newcomer.take_snapshot(calls, doors, own_epoch=own)
        return epoch
    finally:
        await p2p.shutdown()
