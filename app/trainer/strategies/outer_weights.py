"""The swarm's weights, which a round moves, and which each peer gives to newcomers."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from hivemind.compression import NoCompression

from app.p2p.states.comparing import STEPS_AN_EPOCH
from app.spec.costs import rounds
from app.spec.schema import SwarmSpec
from app.trainer.averaging.averagers import CountingStateAverager
from app.trainer.averaging.guard import StateBounds
from app.trainer.averaging.guarded_averager import RoundGuard
from app.trainer.averaging.offences import Offences
from app.trainer.averaging.takeover import OptimizerState, OptimizerSwarm, take_over
from app.trainer.averaging.tracker import PacedTracker
from app.trainer.joining.newcomer import Newcomer
from app.trainer.local_steps.believing import BASE_BYTES
from app.trainer.local_steps.outer import outer_optimizer, set_model, step
from app.trainer.model.optimizers import own_settings
from app.trainer.peer.peer import TrainerPeer
from app.trainer.strategies.protocols import StrategyPlace


class OuterWeights:
    """Lie on the CPU as float32, whatever the model's device. The training thread changes them."""

    def __init__(
        self, place: StrategyPlace, *, tracker: PacedTracker, rate: float, momentum: float
    ) -> None:
        """Begin with the model's. rate, momentum: of the outer optimizer."""
        self._parameters = place.parameters
        self.tensors = [torch.nn.Parameter(copied(each)) for each in self._parameters]
        made = partial(outer_optimizer, rate=rate, momentum=momentum)
        self._averager = _donor(place.spec, place.peer, self.tensors, made)
        self._dht, self._doors = place.peer.dht, place.peer.doors
        self._judge = place.judge
        self._newcomer = Newcomer(
            state=OptimizerState(
                self._averager.optimizer,
                judge=self._loss,
                step_size=STEPS_AN_EPOCH * place.spec.training.optimizer.learning_rate,
                exact=_OuterDonor.is_exact,
            ),
            swarm=OptimizerSwarm(self._dht, averager=self._averager, tracker=tracker),
            report=place.report,
            is_followed=True,
        )

    # --- and the model's

    def snapshot(self) -> list[torch.Tensor]:
        """A copy of the model's weights: float32, on the CPU."""
        return [copied(each) for each in self._parameters]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within it, the model has these weights."""
        own = self.snapshot()  # a device that the training fits needn't have room for them twice
        self.begin()
        try:
            yield
        finally:
            _copy(own, into=self._parameters)

    def _loss(self) -> float:
        with self.shown():
            return self._judge()

    def begin(self) -> None:
        """Let the model go on from here."""
        _copy(self.tensors, into=self._parameters)

    def take_from_model(self) -> None:
        """Go on from the model's weights, those of a checkpoint."""
        _copy(self._parameters, into=self.tensors)

    @torch.no_grad()
    def move(
        self, mean: Sequence[torch.Tensor], *, epoch: int, since: Sequence[torch.Tensor] | None
    ) -> None:
        """Take the outer step, and move the model along.

        mean: of what all have learnt. epoch: that begins. since: the model's weights that were
        sent, so that it keeps what its inner steps did after that; None where it keeps all that it
        learnt.
        """
        before = self.tensors if since is None else since
        drift = [copied(own).sub_(old) for own, old in zip(self._parameters, before, strict=True)]
        self.advance(mean, epoch=epoch)
        set_model(self._parameters, self.tensors, drift)

    @property
    def digest(self) -> bytes:
        """See `digest_of`."""
        return digest_of(self.tensors)

    def advance(self, mean: Sequence[torch.Tensor], *, epoch: int) -> None:
        """Take the outer step of a round; the model stays as it is. mean, epoch: as of `move`."""
        with _OuterDonor.changing:
            with self._averager.lock_averaged_tensors:
                step(self._averager.optimizer, mean)
            self._averager.local_epoch = epoch

    # --- and the swarm's

    def enter(self, epoch: int, *, offer: bool) -> None:
        """An epoch has begun. offer: our state is the swarm's, so that newcomers may have it."""
        self._averager.local_epoch = epoch
        if offer and not self._averager.client_mode:
            self._averager.state_sharing_priority = epoch

    @property
    def snapshot_epoch(self) -> int | None:
        """See `Newcomer`."""
        return self._newcomer.snapshot_epoch

    @property
    def doors_may_have_more(self) -> bool:
        """There are doors, and nobody else has got anywhere."""
        return bool(self._doors.peers) and self._newcomer.swarm.begins

    def take_over(
        self, *, yields: Callable[[], bool], first: bool = False, behind: bool = True
    ) -> int | None:
        """Load the state of a peer that can be believed; its epoch, or None without anybody. The
        model stays as it is.

        yields: as of `app.trainer.averaging.takeover.take_over`. first: before the first step, when
        a door's snapshot may take its place. behind: others are ahead of us.
        """
        taking = take_over(
            self._newcomer,
            self._dht,
            self._averager,
            doors=self._doors if first else None,
            behind=behind,
            yields=yields,
        )
        return asyncio.run(taking)

    @property
    def is_alive(self) -> bool:
        """The process that gives our state away."""
        return bool(self._averager.is_alive())

    def state_dict(self) -> dict[str, Any]:
        """Of the outer optimizer."""
        state: dict[str, Any] = self._averager.optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of the outer optimizer."""
        with own_settings(self._averager.optimizer):
            self._averager.optimizer.load_state_dict(state)

    def close(self) -> None:
        """End the process that gives our state away."""
        self._averager.shutdown()


def digest_of(tensors: Sequence[torch.Tensor]) -> bytes:
    """Of weights: `BASE_BYTES` that two peers have alike only if they have the same weights."""
    hashing = hashlib.sha256()
    for tensor in tensors:
        hashing.update(tensor.detach().contiguous().view(-1).numpy().data)
    return hashing.digest()[:BASE_BYTES]


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """As float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


@torch.no_grad()
def _copy(tensors: Sequence[torch.Tensor], *, into: Sequence[torch.Tensor]) -> None:
    for mine, given in zip(into, tensors, strict=True):
        mine.copy_(given)


class _OuterDonor(CountingStateAverager):
    """hivemind's averager, which averages nothing here: it gives the weights to newcomers."""

    is_exact = True

    changing = threading.Lock()
    """Held while weights, momentum and epoch change together."""

    def get_current_state(self) -> Any:
        """As hivemind has it, in the host process; but a copy, since tensors on the CPU go to the
        averager's process as they are, and would change while they are sent."""
        with self.changing:
            metadata, tensors, infos = super().get_current_state()
            return metadata, [each.clone() for each in tensors], infos


def _donor(
    spec: SwarmSpec,
    peer: TrainerPeer,
    tensors: list[torch.nn.Parameter],
    optimizer: Callable[..., torch.optim.Optimizer],
) -> CountingStateAverager:
    return _OuterDonor(
        guard=RoundGuard(bounds=StateBounds(), offences=Offences()),
        admission=peer.admission,
        dht=peer.dht,
        prefix=f"{spec.run_id}_state_averager",
        optimizer=optimizer,
        params=tensors,
        min_matchmaking_time=spec.training.averaging.matchmaking_seconds,
        request_timeout=rounds.request_seconds(spec),
        state_compression=NoCompression(),
        shutdown_timeout=2.0,
        client_mode=peer.dht.client_mode,
        start=True,
    )
