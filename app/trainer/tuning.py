"""Find how a device trains a model fastest: with how many samples a step, and compiled or not.

Both are tried for some seconds on random tokens. The result is kept for the next start.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.protocol import Device, TrainerPhase
from app.spec.architectures import sizes_of
from app.spec.costs.activations import saved_bytes
from app.spec.schema import SwarmSpec
from app.trainer.devices import release_memory, wait_for
from app.trainer.model.activations import recompute_activations
from app.trainer.model.adapters import trained
from app.trainer.model.loss import loss_of
from app.trainer.model.precision import Precision
from app.trainer.room import Room, gib

log = logging.getLogger(__name__)

SEARCH_SECONDS = 10.0
"""A larger micro-batch is tried only if the search then probably ends within this time."""

LONG_STEP_SECONDS = 2.0
"""A first step that takes this long is timing enough; a shorter one only warms up the device."""

STEPS = 3
"""Steps that are timed together, after the first one."""

PATIENCE = 2
"""Sizes in a row that may be slower than the best; then no larger one is tried."""

MOST_MEMORY = 0.5
"""The share of the free memory that activations may take on a device that doesn't refuse more: it
swaps, or the system kills the process."""

WORTH_COMPILING = 1.05
"""How many times as fast a compiled step must be."""

REMEMBERED = 100
"""Results that are kept in the file."""


LossFunction = Callable[[torch.Tensor], torch.Tensor]
"""From tokens, int64 of shape [samples, sequence_length + 1], to the mean loss per token."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What is fastest."""

    micro_batch_size: int
    """Samples of a step."""

    compiled: bool = False
    """By torch.compile."""


# --- trying


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Steps of a model as in training, on random tokens. They leave gradients in the model."""

    spec: SwarmSpec

    chosen: Device
    """As the app knows the device."""

    room: Room
    """The memory of the same device."""

    precision: Precision

    vocabulary: int
    """Random tokens are below this."""

    recomputed: bool = False
    """The model computes its activations twice, to keep less of them."""

    @property
    def device(self) -> torch.device:
        """The device as torch knows it."""
        return self.room.device

    @property
    def key(self) -> str:
        """A hash of all that the result depends on."""
        chosen, training = self.chosen, self.spec.training
        parts = {
            "device": [chosen.id.partition(":")[0], chosen.name, chosen.uuid, chosen.memory],
            "allowed": self.room.allowed,
            "torch": torch.__version__,
            "model": self.spec.model.model_dump(mode="json"),
            "vocabulary": self.vocabulary,
            "sequence_length": training.sequence_length,
            "most": training.most_samples_a_step(self.device.type),
            "precision": self.precision.name,
            "adapters": training.adapters and training.adapters.model_dump(mode="json"),
            **({"recomputed": True} if self.recomputed else {}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

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
        shape = (samples, self.spec.training.sequence_length + 1)
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


def tune(
    trial: Trial, model: torch.nn.Module, *, file: str, say: Callable[[TrainerPhase], None]
) -> tuple[Tuned, LossFunction]:
    """What is fastest, found now or before, and the loss of the model, compiled or not.

    Nothing is tried if the spec says the size of a micro-batch.

    Where not even one sample fits, the model's activations are computed twice from then on.

    file: of earlier results, "" for none. say: called with the phases.

    Raises `DeviceError` where one doesn't fit even so.
    """
    try:
        return _tune(trial, model, file=file, say=say)
    except DeviceError as error:
        too_small = error
    release_memory(trial.device)
    if not recompute_activations(model):
        raise too_small
    try:
        return _tune(replace(trial, recomputed=True), model, file=file, say=say)
    except DeviceError:
        raise too_small from None


def _tune(
    trial: Trial, model: torch.nn.Module, *, file: str, say: Callable[[TrainerPhase], None]
) -> tuple[Tuned, LossFunction]:
    loss = partial(loss_of, model)
    most = trial.spec.training.most_samples_a_step(trial.device.type)
    if trial.device.type != "cuda":
        most = _bearable(trial, most=most)
    if trial.spec.training.micro_batch_size != "auto":
        return Tuned(micro_batch_size=_allowed(trial, model, most=most)), loss
    findings = TuningCache(Path(file) if file else None)
    tuned = findings.recall(trial.key)
    if tuned is None:
        tuned = _find(trial, model, most=most, say=say)
        findings.remember(trial.key, tuned)
    if not tuned.compiled:
        return tuned, loss
    say(TrainerPhase.COMPILING)
    compiled = _compiled(trial, loss, tuned.micro_batch_size)
    return (replace(tuned, compiled=False), loss) if compiled is None else (tuned, compiled)


def _find(
    trial: Trial, model: torch.nn.Module, *, most: int, say: Callable[[TrainerPhase], None]
) -> Tuned:
    say(TrainerPhase.TUNING)
    on_cuda = trial.device.type == "cuda"
    if not on_cuda:
        most = min(most, _affordable(trial, model))
    loss = partial(loss_of, model)
    size = fastest(partial(trial.seconds, loss), most=most)
    release_memory(trial.device)
    if on_cuda:
        say(TrainerPhase.COMPILING)
    return Tuned(micro_batch_size=size, compiled=on_cuda and compiling_pays(trial, loss, size))


def compiling_pays(trial: Trial, loss: LossFunction, samples: int) -> bool:
    """Whether torch.compile makes steps faster. It takes about half a minute to find out."""
    plain = trial.seconds(loss, samples)
    compiled = _compiled(trial, loss, samples)
    return compiled is not None and plain > WORTH_COMPILING * trial.seconds(compiled, samples)


def _compiled(trial: Trial, loss: LossFunction, samples: int) -> LossFunction | None:
    """Model and loss as one graph, so that the logits never leave it."""
    compiled = cast("LossFunction", torch.compile(loss))
    try:
        trial.seconds(compiled, samples)
    except Exception as error:  # noqa: BLE001  whatever a compiler or its kernel raises
        log.warning("torch.compile fails here and isn't used: %r", error)
        return None
    return compiled


def _bearable(trial: Trial, *, most: int) -> int:
    """The most samples, at most ``most``, that don't fill the memory by the estimate: a device
    that doesn't refuse what is too much would swap, or the system would kill this process.

    Raises `DeviceError` where not even one sample fits.
    """
    spec = trial.spec
    sizes = sizes_of(spec.model.model_type, spec.model.fields, vocabulary=trial.vocabulary)
    a_token = saved_bytes(
        spec.model, sizes, spec.training, device="cpu", recomputed=trial.recomputed
    )
    fitting = trial.room.available // (a_token * spec.training.sequence_length)
    if fitting < 1:
        raise DeviceError(
            _(
                "one sample of {length:,} tokens takes {needed} to train, but {free} are free."
            ).format(
                length=spec.training.sequence_length,
                needed=gib(a_token * spec.training.sequence_length),
                free=gib(trial.room.available),
            ),
            field="training_params.sequence_length",
            remedy=_("Choose a device with more memory, or join a swarm with shorter samples."),
        )
    if fitting < most:
        log.warning("a step has %d samples here: more would not fit into the memory", fitting)
    return min(most, fitting)


def _affordable(trial: Trial, model: torch.nn.Module) -> int:
    """The most samples that fit, for a device that doesn't refuse what is too much."""
    a_sample = trial.bytes_a_sample(partial(loss_of, model))
    most = max(1, int(MOST_MEMORY * trial.room.available) // a_sample)
    return _allowed(trial, model, most=most)


def _allowed(trial: Trial, model: torch.nn.Module, *, most: int) -> int:
    """The most samples for which the volunteer allows the memory, at most ``most``.

    Not checked on CUDA, which refuses more than is allowed.

    Raises `DeviceError` where not even one is allowed.
    """
    if not trial.room.allowed or trial.device.type == "cuda":
        return most
    states = 1 if trial.spec.training.optimizer.name == "sgd" else 2
    coming = (1 + states) * sum(weights.nbytes for weights in trained(model))
    a_sample = trial.bytes_a_sample(partial(loss_of, model))
    free = trial.room.free  # a look at all our processes
    if coming + a_sample > free:
        raise trial.room.not_allowed(coming + a_sample)
    return min(most, (free - coming) // a_sample)


# --- remembering


class TuningCache:
    """A file of results, the newest last. Without one, or if it can't be read or written, all is
    found again at the next start."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def recall(self, key: str) -> Tuned | None:
        """The result for a `Trial.key`, or None."""
        try:
            return Tuned(**self._read()[key])
        except (KeyError, TypeError):
            return None

    def remember(self, key: str, tuned: Tuned) -> None:
        """Add a result, and drop the oldest ones beyond `REMEMBERED`."""
        if self._path is None:
            return
        others = {name: value for name, value in self._read().items() if name != key}
        newest = list(others.items())[1 - REMEMBERED :]
        content = json.dumps(dict(newest) | {key: asdict(tuned)}, indent=1)
        try:
            # In place: Landlock lets the trainer write this file, but make none in its folder. A
            # file that is cut off counts as empty.
            self._path.write_text(content, encoding="utf-8")
        except OSError as error:
            log.warning("the results of tuning can't be kept: %s", error)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
