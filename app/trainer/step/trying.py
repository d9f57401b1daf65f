"""Timing steps on random tokens, to find with how many samples they are fastest, and whether
compiled."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.trainer.model.precision import Precision
from app.trainer.step.waiting import wait_for

log = logging.getLogger(__name__)

SEARCH_SECONDS = 10.0
"""A larger micro-batch is tried only if the search then probably ends within this time."""

LONG_STEP_SECONDS = 2.0
"""A first step that takes this long is timing enough; a shorter one only warms up the device."""

STEPS = 3
"""Steps that are timed together, after the first one."""

PATIENCE = 2
"""Sizes in a row that may be slower than the best; then no larger one is tried."""

WORTH_COMPILING = 1.05
"""How many times as fast a compiled step must be."""

LossFunction = Callable[[torch.Tensor], torch.Tensor]
"""From tokens, int64 of shape [samples, sequence_length + 1], to a scalar: mean cross-entropy
per token (nats)."""


@dataclass(frozen=True, kw_only=True)
class RandomSteps:
    """Steps of a model as in training, on random tokens. They leave gradients in the model."""

    device: torch.device

    precision: Precision

    vocabulary: int
    """Random tokens are below this."""

    sequence_length: int
    """Tokens of a sample, without the one that only is predicted."""

    def seconds(self, loss: LossFunction, samples: int) -> float:
        """How long a step of so many samples takes. Raises `torch.OutOfMemoryError`."""
        tokens = self._tokens(samples)
        first = self._time(loss, tokens, steps=1)
        if first >= LONG_STEP_SECONDS:
            return first
        return self._time(loss, tokens, steps=STEPS) / STEPS

    def _time(self, loss: LossFunction, tokens: torch.Tensor, *, steps: int) -> float:
        began = time.perf_counter()
        for _step in range(steps):
            self._loss(loss, tokens).backward()
        wait_for(self.device)
        return time.perf_counter() - began

    def _tokens(self, samples: int) -> torch.Tensor:
        shape = (samples, self.sequence_length + 1)
        return torch.randint(self.vocabulary, shape, device=self.device)

    def _loss(self, loss: LossFunction, tokens: torch.Tensor) -> torch.Tensor:
        with self.precision.context(self.device):
            return loss(tokens)

    def bytes_a_sample(self, loss: LossFunction) -> int:
        """Bytes that a forward pass keeps for the backward pass, for each sample."""
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        def sum_of(samples: int) -> int:
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                self._loss(loss, self._tokens(samples))
            return sum(kept.values())

        return max(1, sum_of(2) - sum_of(1))  # both hold the weights


def fastest(seconds_of: Callable[[int], float], *, most: int) -> int:
    """The micro-batch, a power of two up to ``most``, with the most samples a second.

    seconds_of: times a step of so many samples, or raises `torch.OutOfMemoryError`.

    Raises `DeviceError` where not even one sample fits.
    """
    best, best_rate, slower, size = 0, 0.0, 0, 1
    began = now = time.monotonic()
    last = 0.0
    while size <= most and slower < PATIENCE and now + 2 * last - began < SEARCH_SECONDS:
        try:
            rate = size / seconds_of(size)
        except torch.OutOfMemoryError:
            log.info("%d samples a step don't fit", size)
            break
        log.info("%d samples a step: %.1f samples/s", size, rate)
        slower = 0 if rate > best_rate else slower + 1
        if rate > best_rate:
            best, best_rate = size, rate
        size *= 2
        now, last = time.monotonic(), time.monotonic() - now
    if not best:
        raise not_even_one()
    return best


def not_even_one() -> DeviceError:
    """The error for a device whose memory is too small for a single sample."""
    return DeviceError(
        _("the device's memory is too small for this model, even with one sample a step."),
        field="device",
        remedy=_(
            "Close other programs that use it, choose another device, or join a swarm with a"
            " smaller model."
        ),
    )


def compiling_pays(steps: RandomSteps, loss: LossFunction, samples: int) -> bool:
    """Whether torch.compile makes steps faster. It takes about half a minute to find out."""
    plain = steps.seconds(loss, samples)
    compiled = compiled_loss(steps, loss, samples)
    return compiled is not None and plain > WORTH_COMPILING * steps.seconds(compiled, samples)


def compiled_loss(steps: RandomSteps, loss: LossFunction, samples: int) -> LossFunction | None:
    """Model and loss as one graph, so that the logits never leave it; None where torch.compile
    fails. It is warm for steps of so many samples."""
    compiled = cast("LossFunction", torch.compile(loss))
    try:
        steps.seconds(compiled, samples)
    except Exception as error:  # noqa: BLE001  whatever a compiler or its kernel raises
        log.warning("torch.compile fails here and isn't used: %r", error)
        return None
    return compiled
