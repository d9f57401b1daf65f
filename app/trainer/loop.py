"""The training loop: one micro-batch after the other, until the app or the spec ends it."""

import logging
import time

import torch

from app.protocol import EndReason
from app.trainer.control import Control
from app.trainer.run import TrainingRun
from app.trainer.step.gradient import add_gradient

log = logging.getLogger(__name__)


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
            run.keeper.keep()
            evaluating = run.evaluate()
            if control.is_paced:
                computing = run.meter.compute_seconds - before
                worked = computing + evaluating + run.memory.wait_for_device()
                run.meter.add_wait(control.breathe(worked))
    run.losses.finish()
    run.note_losses()
    run.meter.work.pause()
    return EndReason.STOPPED if control.stopping else EndReason.COMPLETED


def step(run: TrainingRun) -> None:
    """Draw a micro-batch, and learn from it."""
    started = time.perf_counter()
    learn(run, run.batches.next(run.micro_batch_size), started=started)


def learn(run: TrainingRun, tokens: torch.Tensor, *, started: float) -> None:
    """Learn from samples; where they don't fit into the memory, in parts of half the size.

    tokens: int64, shape [samples, sequence_length + 1], on the CPU. started: by `perf_counter`.
    """
    try:
        is_finite = compute(run, tokens.to(run.device, non_blocking=True), started=started)
    except torch.OutOfMemoryError as error:
        log.warning("%s", error)
    else:
        if is_finite:
            run.strategy.step(len(tokens))
            run.note_losses()
        return
    run.halve(len(tokens))
    for half in tokens.split(run.micro_batch_size):
        learn(run, half, started=time.perf_counter())


def compute(run: TrainingRun, tokens: torch.Tensor, *, started: float) -> bool:
    """Add the gradient of samples; False when their loss is known not to be finite.

    Raises `torch.OutOfMemoryError`.
    """
    computing = time.perf_counter()
    added = add_gradient(
        tokens,
        loss_of=run.loss,
        autocast=run.autocast,
        backward=run.strategy.backward,
        losses=run.losses,
    )
    if not added:
        run.discard(len(tokens))
        return False
    ended = time.perf_counter()
    run.meter.add_step(
        samples=len(tokens),
        tokens=tokens[:, 1:].numel(),
        seconds=ended - started,
        computing=ended - computing,
    )
    return True


def rest(run: TrainingRun, *, control: Control) -> None:
    """Compute nothing, but stay in the swarm, until the app resumes or stops us."""
    run.strategy.rest()
    run.losses.finish()
    run.note_losses()
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
