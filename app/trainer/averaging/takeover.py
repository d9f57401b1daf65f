"""What a newcomer takes over in gradient averaging: the parameters and the optimizer's statistics.

The optimizer's settings stay those of the spec: hivemind takes them from the donor, so that a
donor could set the learning rate of all who join.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from hivemind.dht import DHT
from hivemind.optim.state_averager import TrainingStateAverager
from hivemind.p2p import P2P, PeerID
from hivemind.utils.nested import nested_flatten

from app.p2p.calls import CallError, hivemind_errors
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.joining.download import DonorCalls
from app.trainer.joining.layout import StateLayout
from app.trainer.joining.newcomer import Newcomer

LOOK_SECONDS = 15.0
"""How long the DHT process, whose reply may get lost, is waited for."""

MOST_DONORS = 50


class OptimizerState:
    """A `LocalState`: of `hivemind.Optimizer`, in the order in which its peers send theirs."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, judge: Callable[[], float], step_size: float
    ) -> None:
        """judge: the loss of the model as it is. step_size: as in `LocalState`."""
        self._optimizer = optimizer
        self.loss = judge
        self.step_size = step_size

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
        return StateLayout.of(self.tensors, parameters=len(self._parameters))

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

    async def donors(self) -> list[PeerID]:
        """Those that claim the swarm's epoch, in random order, then those behind it."""
        key = f"{self._averager.prefix}.all_averagers"
        asked: Any = self._dht.get(key, latest=True, return_future=True)
        try:
            with hivemind_errors():
                found = await asyncio.to_thread(asked.result, LOOK_SECONDS)
        except CallError:
            return []
        offered = found.value if found is not None else {}
        return self._ranked(offered if isinstance(offered, dict) else {})

    def _ranked(self, offered: dict[Any, Any]) -> list[PeerID]:
        # A donor gains nothing by claiming more than the swarm's epoch.
        ranks = {
            PeerID(peer): (min(float(entry.value), self.epoch), random.random())
            for peer, entry in offered.items()
            if isinstance(entry.value, int | float)
        }
        ranks.pop(self._dht.peer_id, None)
        return sorted(ranks, key=lambda peer: ranks[peer], reverse=True)[:MOST_DONORS]


async def take_over(newcomer: Newcomer, dht: DHT, averager: CountingStateAverager) -> int | None:
    """Load the swarm's state, as `Newcomer.take_over` does."""
    maddr: Any = dht.run_coroutine(DHT._get_p2p_daemon_listen_maddr)  # noqa: SLF001
    p2p = await P2P.replicate(maddr)
    try:
        calls = DonorCalls(
            stub=lambda peer: averager.get_stub(p2p, peer, namespace=averager.prefix),
            traffic=averager.traffic,
        )
        return await newcomer.take_over(calls)
    finally:
        await p2p.shutdown()
