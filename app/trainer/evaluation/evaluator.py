"""When a trainer evaluates the swarm's weights, and what it tells of it."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch

from app.evaluation_messages import MOST_SAMPLE_CHARACTERS, Evaluated, SampleGenerated
from app.protocol import Report
from app.spec.training import TrainingSpec
from app.trainer.confinement.memory import is_for_memory
from app.trainer.data.held_out import HeldOut
from app.trainer.evaluation.generation import SampleWriter
from app.trainer.evaluation.measure import HeldOutMeasure, Measured
from app.trainer.step.waiting import release_memory
from app.trainer.strategies.protocols import SwarmMember

log = logging.getLogger(__name__)

MOST_TIME_EVALUATING = 0.02
"""The largest share of the time that evaluations take, the samples included."""

SAMPLES_SHARE = 0.4
"""Of an evaluation's time, for the samples; more where measuring takes less than its part."""

BETTER = 0.999
"""An evaluation is better when its loss is below this many times the best one before."""


class Evaluator:
    """Evaluates at the end of epochs. The training thread calls it; any thread reads `newest`."""

    newest: Evaluated | None
    """The last one that had a result."""

    unimproved: int
    """Evaluations since the best one."""

    def __init__(
        self,
        spec: TrainingSpec,
        *,
        held_out: HeldOut,
        model: torch.nn.Module,
        strategy: SwarmMember,
        context: Callable[[], AbstractContextManager[object]],
        send: Callable[[Report], None],
        stopping: Callable[[], bool],
    ) -> None:
        """held_out: of two tokens at least. context: in which the loss is computed.

        send: called with `Evaluated` and `SampleGenerated`. stopping: give up an evaluation.
        """
        self.newest = None
        self.unimproved = 0
        self._every = spec.evaluation.every_epochs
        self._seconds = spec.evaluation.seconds
        self._model = model
        self._strategy = strategy
        self._context = context
        self._send = send
        self._measure = HeldOutMeasure(
            held_out,
            sequence_length=spec.sequence_length,
            seconds=spec.evaluation.seconds * (1 - SAMPLES_SHARE),
            stopping=stopping,
        )
        self._writer = SampleWriter(
            held_out.prompts,
            tokenizer=held_out.tokenizer,
            most_context=spec.sequence_length,
            stopping=stopping,
        )
        self._best = math.inf
        self._tokens = 0
        self._evaluated_epoch = strategy.epoch
        self._due_at = 0.0
        self._most_at_once: int | None = None

    def evaluate(self, *, batch_size: int) -> float:
        """Evaluate if an epoch has ended for which it is time; returns the seconds that it took.

        batch_size: samples that the device trains on at once.
        """
        epoch = self._strategy.epoch
        if epoch // self._every <= self._evaluated_epoch // self._every:
            return 0.0
        if time.monotonic() < self._due_at:
            return 0.0
        self._evaluated_epoch = epoch
        began = time.monotonic()
        try:
            with self._strategy.swarm_weights(), _evaluating(self._model), self._context():
                self._evaluate(epoch, batch_size=min(batch_size, self._most_at_once or batch_size))
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and not is_for_memory(error):
                raise
            log.warning("no evaluation in epoch %d: %s", epoch, error)
            release_memory(next(self._model.parameters()).device)
            self._most_at_once = max(1, min(batch_size, self._most_at_once or batch_size) // 2)
        seconds = time.monotonic() - began
        self._due_at = time.monotonic() + seconds / MOST_TIME_EVALUATING
        return seconds

    def _evaluate(self, epoch: int, *, batch_size: int) -> None:
        began = time.monotonic()
        measured = self._measure.of(self._model, batch_size=batch_size)
        if measured is None:
            return
        seconds = time.monotonic() - began
        self._note(measured, epoch=epoch, seconds=seconds)
        left = max(self._seconds - seconds, self._seconds * SAMPLES_SHARE)
        for prompt, text in self._writer.of(self._model, seconds=left):
            self._send(
                SampleGenerated(
                    epoch=epoch,
                    prompt=prompt,
                    text=text[:MOST_SAMPLE_CHARACTERS],
                    time=time.time(),
                )
            )

    def _note(self, measured: Measured, *, epoch: int, seconds: float) -> None:
        if measured.tokens != self._tokens:  # of less text: nothing to compare it with
            self._best, self._tokens = math.inf, measured.tokens
        is_better = measured.loss < BETTER * self._best
        self.unimproved = 0 if is_better else self.unimproved + 1
        if is_better:
            self._best = measured.loss
        if not math.isfinite(measured.loss):
            log.warning("the loss of epoch %d on held-out text is not finite", epoch)
            return
        self.newest = Evaluated(
            epoch=epoch,
            loss=measured.loss,
            bits_per_byte=measured.bits_per_byte,
            tokens=measured.tokens,
            seconds=seconds,
            time=time.time(),
        )
        self._send(self.newest)


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Within it, the model has no dropout and keeps nothing for gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
