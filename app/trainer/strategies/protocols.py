"""What a strategy is to the rest of the trainer: two protocols, each of what its holders use.

A strategy is how the peers of a swarm agree on one model. The training loop computes gradients
and gives them to a `Strategy`. The reporter, the checkpoints and the assembly hold the same
object as a `SwarmMember`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from app.protocol import Report, Work
from app.spec.schema import SwarmSpec
from app.trainer.averaging.seen import SwarmProgress
from app.trainer.model.adapters import trained
from app.trainer.peer.peer import TrainerPeer
from app.trainer.work import WorkMeter


@dataclass(frozen=True, kw_only=True)
class StrategyPlace:
    """What a strategy is handed."""

    spec: SwarmSpec
    peer: TrainerPeer
    model: torch.nn.Module

    needs_scaler: bool
    """The loss must be scaled, since gradients would underflow in float16."""

    judge: Callable[[], float]
    """The loss of the model as it is, on a batch that is the same each time (nats per token); a
    foreign state is held against it."""

    report: Callable[[Report], None]
    """Called with what became of rounds, on the training thread."""

    work: WorkMeter
    """Counts samples; told what became of them."""

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The model's that training changes: the peers agree on these."""
        return trained(self.model)


class Strategy(Protocol):
    """What the training loop uses. One thread, the training thread, calls it."""

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch.

        loss: scalar, mean over the micro-batch. samples: in the micro-batch.

        Raises `torch.OutOfMemoryError`; nothing of the micro-batch's gradient is kept then.
        """

    def step(self, samples: int) -> None:
        """Count a micro-batch; when it is time to agree with the others, do so.

        Blocks as long as that takes, and updates the model.
        """

    def forget(self, reason: str) -> None:
        """Give up the gradient of the epoch that runs, or of the step. reason: for the report."""

    def rest(self) -> None:
        """Before a pause: don't let the others count on us."""


class SwarmMember(Protocol):
    """What the reporter, the checkpoints and the assembly use.

    The reporter's thread reads `epoch`, `averaging_since`, `loading_state`, `progress`, `work`
    and `failure`; the thread that reads commands calls `interrupt`. All else belongs to the
    training thread.
    """

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""

    @property
    def averaging_since(self) -> float | None:
        """Monotonic time since when the training thread waits for a round, or None."""

    @property
    def loading_state(self) -> bool:
        """The training thread downloads the swarm's state. This can't be interrupted."""

    @property
    def taken_over(self) -> int:
        """How often another peer's state has taken the place of ours, since the checkpoint from
        which we resumed."""

    @property
    def snapshot_epoch(self) -> int | None:
        """Of the door's snapshot with which we began; None where we began otherwise."""

    @property
    def torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer whose state lies in the memory of the device."""

    def progress(self) -> SwarmProgress:
        """The run as this peer last saw it."""

    def work(self) -> Work:
        """What this trainer did for the run since it started; also after `close`."""

    def failure(self) -> str:
        """Which of the strategy's processes has died, or ""."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the model's weights; the epoch is part of it."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state_dict`; the model has its weights already."""

    def undo(self, state: dict[str, Any], restore_model: Callable[[], object]) -> None:
        """Go back to a checkpoint's `state_dict`, but stay in the swarm's epoch.

        restore_model: gives the model the checkpoint's weights; called when nothing else writes
        to them.
        """

    def swarm_weights(self) -> AbstractContextManager[None]:
        """Within it, the model has the weights on which the swarm has agreed."""

    def forget(self, reason: str) -> None:
        """Give up the gradient of the epoch that runs. reason: for the report."""

    def synchronize(self) -> None:
        """Before the first step: load the state of a swarm that is ahead of us, or of a door."""

    def interrupt(self) -> None:
        """From another thread, when we leave: end a wait for other peers."""

    def close(self) -> None:
        """Leave the run, and end the strategy's processes."""
