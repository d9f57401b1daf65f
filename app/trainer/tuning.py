"""Find how a device trains a model fastest: with how many samples a step, and compiled or not.

Both are tried for some seconds on random tokens. The result is kept for the next start.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.protocol import Device, TrainerPhase
from app.spec.architectures import sizes_of
from app.spec.costs.activations import saved_bytes
from app.spec.schema import SwarmSpec
from app.trainer.model.activations import recompute_activations
from app.trainer.model.adapters import trained
from app.trainer.model.loss import loss_of
from app.trainer.model.precision import Precision
from app.trainer.room import Room, gib
from app.trainer.step.trying import (
    LossFunction,
    RandomSteps,
    compiled_loss,
    compiling_pays,
    fastest,
)
from app.trainer.step.waiting import release_memory

log = logging.getLogger(__name__)

MOST_MEMORY = 0.5
"""The share of the free memory that activations may take on a device that doesn't refuse more: it
swaps, or the system kills the process."""

REMEMBERED = 100
"""Results that are kept in the file."""


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
    """A model's steps on a device, to be timed."""

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
    def steps(self) -> RandomSteps:
        """The steps themselves."""
        return RandomSteps(
            device=self.device,
            precision=self.precision,
            vocabulary=self.vocabulary,
            sequence_length=self.spec.training.sequence_length,
        )

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
    compiled = compiled_loss(trial.steps, loss, tuned.micro_batch_size)
    return (replace(tuned, compiled=False), loss) if compiled is None else (tuned, compiled)


def _find(
    trial: Trial, model: torch.nn.Module, *, most: int, say: Callable[[TrainerPhase], None]
) -> Tuned:
    say(TrainerPhase.TUNING)
    on_cuda = trial.device.type == "cuda"
    if not on_cuda:
        most = min(most, _affordable(trial, model))
    loss = partial(loss_of, model)
    size = fastest(partial(trial.steps.seconds, loss), most=most)
    release_memory(trial.device)
    if on_cuda:
        say(TrainerPhase.COMPILING)
    return Tuned(
        micro_batch_size=size, compiled=on_cuda and compiling_pays(trial.steps, loss, size)
    )


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
    a_sample = trial.steps.bytes_a_sample(partial(loss_of, model))
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
    a_sample = trial.steps.bytes_a_sample(partial(loss_of, model))
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
