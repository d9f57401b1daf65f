"""The training loop, to be read aloud."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.protocol import EndReason, MicroBatchHalved, Report, SampleDiscarded
from app.spec.schema import StopSpec
from app.trainer.control import Control
from app.trainer.data.batches import Batches
from app.trainer.memory import DeviceMemory
from app.trainer.meter import Meter
from app.trainer.strategies.gradient_averaging import Strategy
from app.trainer.tuning import not_even_one, release_memory

log = logging.getLogger(__name__)

MOST_DISCARDED = 20


@dataclass(kw_only=True)
class TrainingRun:
    """Everything that one training run is made of.

    loss_of: mean cross-entropy per token of a batch of tokens. keep: writes a checkpoint when
    one is due (or, with ``now=True``, in any case). memory: of the device. say_phase: tells the
    app what we do now.
    """

    model: torch.nn.Module
    batches: Batches
    strategy: Strategy
    loss_of: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
    autocast: Callable[[], AbstractContextManager[object]]
    device: torch.device
    memory: DeviceMemory
    micro_batch_size: int
    stop: StopSpec
    meter: Meter
    report: Callable[[Report], None]
    say_phase: Callable[[], None]
    keep: Callable[..., None]
    started: float = field(default_factory=time.monotonic)
    discarded: int = 0

    def discard(self, samples: int) -> None:
        """Pass over a micro-batch whose loss is not finite.

        Raises `UserFacingError` after `MOST_DISCARDED` in a row: the model itself is broken.
        """
        self.discarded += 1
        self.meter.work.discarded(samples)
        reason = "the loss was not finite"
        self.report(SampleDiscarded(epoch=self.strategy.epoch, samples=samples, reason=reason))
        if self.discarded >= MOST_DISCARDED:
            raise UserFacingError(
                _("the loss is not finite any more: the model has diverged."),
                field="training_params.optimizer.learning_rate",
                remedy=_("Lower the learning rate; a fresh run needs another run_id."),
            )

    def halve(self, samples: int) -> None:
        """Take half as many samples a step from now on, since so many don't fit.

        Raises `DeviceError` where that was a single one.
        """
        if samples == 1:
            raise not_even_one()
        release_memory(self.device)
        half = (samples + 1) // 2
        if half < self.micro_batch_size:
            self.micro_batch_size = half
            self.report(MicroBatchHalved(micro_batch_size=half))

    @property
    def complete(self) -> bool:
        """The spec's stop condition is reached."""
        if self.stop.epochs is not None and self.strategy.epoch >= self.stop.epochs:
            return True
        minutes = (time.monotonic() - self.started) / 60
        return self.stop.minutes is not None and minutes >= self.stop.minutes


def train(run: TrainingRun, *, control: Control) -> EndReason:
    """Train until the app wants us to stop, or the run is complete."""
    run.model.train()
    run.meter.work.resume()
    run.say_phase()
    while not control.stopping and not run.complete:
        control.acknowledge()
        if control.pause_wanted:
            rest(run, control=control)
        else:
            before = run.meter.compute_seconds
            step(run)
            run.keep()
            if control.is_paced:
                worked = run.meter.compute_seconds - before + run.memory.wait_for_device()
                run.meter.add_wait(control.breathe(worked))
    run.meter.work.pause()
    return EndReason.STOPPED if control.stopping else EndReason.COMPLETED


def step(run: TrainingRun) -> None:
    """Learn from one micro-batch, and let the swarm know."""
    started = time.perf_counter()
    learn(run, run.batches.next(run.micro_batch_size), started=started)


def learn(run: TrainingRun, tokens: torch.Tensor, *, started: float) -> None:
    """Learn from samples: in halves, from now on, where the memory is too small for all."""
    try:
        is_finite = compute(run, tokens.to(run.device, non_blocking=True), started=started)
    except torch.OutOfMemoryError as error:
        log.warning("%s", error)
    else:
        if is_finite:
            run.strategy.step(len(tokens))
        return
    run.halve(len(tokens))
    for half in tokens.split(run.micro_batch_size):
        learn(run, half, started=time.perf_counter())


def compute(run: TrainingRun, tokens: torch.Tensor, *, started: float) -> bool:
    """Add the gradient of samples; False where their loss is not finite."""
    computing = time.perf_counter()
    with run.autocast():
        loss = run.loss_of(run.model, tokens)
    if not torch.isfinite(loss):
        run.discard(len(tokens))
        return False
    run.discarded = 0
    run.strategy.backward(loss, len(tokens))
    ended = time.perf_counter()
    run.meter.add_step(
        loss.detach(),
        samples=len(tokens),
        tokens=tokens[:, 1:].numel(),
        seconds=ended - started,
        computing=ended - computing,
    )
    return True


def rest(run: TrainingRun, *, control: Control) -> None:
    """Compute nothing, but stay in the swarm, until the app wants us back."""
    run.strategy.rest()
    run.meter.flush()
    run.meter.work.pause()
    control.resting = True
    run.say_phase()
    control.acknowledge()
    control.wait_for_resume(run.memory.free)
    if not control.stopping:
        run.memory.take_back()
    control.resting = False
    run.meter.work.resume()
    run.say_phase()
