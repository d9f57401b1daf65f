"""What one training run is made of, for the loop."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.protocol import MicroBatchHalved, Report, SampleDiscarded
from app.spec.training import StopSpec
from app.trainer.data.batches import Batches
from app.trainer.evaluation.evaluator import Evaluator
from app.trainer.keeper import Keeper
from app.trainer.memory import DeviceMemory
from app.trainer.meter import Meter
from app.trainer.model.activations import recompute_activations
from app.trainer.step.trying import LossFunction, not_even_one
from app.trainer.step.waiting import LateValues, release_memory
from app.trainer.strategies.protocols import Strategy

MOST_DISCARDED = 20
"""Micro-batches in a row whose loss is not finite before the run is given up."""

NOT_FINITE = "the loss was not finite"


@dataclass(kw_only=True)
class TrainingRun:
    """Everything that the training loop uses."""

    model: torch.nn.Module

    batches: Batches

    strategy: Strategy

    loss: LossFunction
    """Of the model; compiled together with it where that is faster."""

    autocast: Callable[[], AbstractContextManager[object]]
    """Makes the context in which the loss is computed."""

    device: torch.device

    memory: DeviceMemory

    micro_batch_size: int
    """Samples of a step; halved when they don't fit into the memory of the device."""

    stop: StopSpec
    """When the run is complete."""

    meter: Meter

    report: Callable[[Report], None]

    say_phase: Callable[[], None]
    """Reports what the trainer is doing, if that has changed."""

    keeper: Keeper
    """Writes checkpoints, and goes back to them."""

    evaluator: Evaluator | None = None
    """None where another trainer of this machine evaluates, or there is nothing to evaluate on."""

    started: float = field(default_factory=time.monotonic)
    """Monotonic time."""

    losses: LateValues = field(init=False)
    """Of the last micro-batches."""

    discarded: int = 0
    """Micro-batches in a row whose loss was not finite."""

    recomputed: bool = False
    """Activations are computed twice since a single sample did not fit."""

    def __post_init__(self) -> None:
        """Read losses as late as the device wants it."""
        self.losses = LateValues(self.device)

    def discard(self, samples: int) -> None:
        """Count and report a micro-batch whose loss is not finite.

        After `MOST_DISCARDED` in a row, goes back to the last checkpoint. Raises `UserFacingError`
        where that doesn't help: the model has diverged.
        """
        self.meter.work.discarded(samples)
        self.report(SampleDiscarded(epoch=self.strategy.epoch, samples=samples, reason=NOT_FINITE))
        self._count_discarded()

    def note_losses(self) -> None:
        """Count the losses that the device has computed by now.

        One that isn't finite has spoilt the gradient since, so that is given up. Raises as
        `discard`.
        """
        for loss in self.losses.take():
            if math.isfinite(loss):
                self.discarded = 0
                self.meter.add_loss(loss)
            else:
                self.strategy.forget(NOT_FINITE)
                self._count_discarded()

    def _count_discarded(self) -> None:
        self.discarded += 1
        if self.discarded < MOST_DISCARDED:
            return
        if not self.keeper.rescue():  # one bad round may have been the reason
            raise UserFacingError(
                _("the loss is not finite any more: the model has diverged."),
                field="training_params.optimizer.learning_rate",
                remedy=_(
                    "Whoever made the swarm has to lower the learning rate, and to begin a new run."
                ),
            )
        self.discarded = 0

    def halve(self, samples: int) -> None:
        """Lower the micro-batch to half of ``samples``, which don't fit into the memory.

        Where that was a single sample, its activations are computed twice from now on. Raises
        `DeviceError` where it doesn't fit even so.
        """
        release_memory(self.device)
        if samples == 1:
            if self.recomputed or not recompute_activations(self.model):
                raise not_even_one()
            self.recomputed = True
            return
        half = (samples + 1) // 2
        if half < self.micro_batch_size:
            self.micro_batch_size = half
            self.report(MicroBatchHalved(micro_batch_size=half))

    def evaluate(self) -> float:
        """Evaluate the swarm's weights if it is time; returns the seconds that it took."""
        if self.evaluator is None:
            return 0.0
        before = self.evaluator.newest
        seconds = self.evaluator.evaluate(batch_size=self.micro_batch_size)
        newest = self.evaluator.newest
        if newest is not None and newest is not before:
            self.keeper.note_evaluation(newest)
        return seconds

    @property
    def complete(self) -> bool:
        """The spec's stop condition is reached."""
        most = self.stop.unimproved_evaluations
        if most is not None and self.evaluator is not None and self.evaluator.unimproved >= most:
            return True
        if self.stop.epochs is not None and self.strategy.epoch >= self.stop.epochs:
            return True
        minutes = (time.monotonic() - self.started) / 60
        return self.stop.minutes is not None and minutes >= self.stop.minutes
