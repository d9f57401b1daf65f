"""How a device trains a model fastest: with how many samples a step, and compiled or not.

Both are tried, in seconds, on made-up tokens, and remembered for the next start.
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
from app.common.paths import write_atomically
from app.protocol import Device, TrainerPhase
from app.spec.schema import SwarmSpec
from app.trainer.model.model import Precision, loss_of
from app.trainer.room import Room

log = logging.getLogger(__name__)

SEARCH_SECONDS = 10.0
"""A larger micro-batch is tried if that is likely to end within this."""

LONG_STEP_SECONDS = 2.0
"""A step that takes so long is timed once; a shorter one again, when all is warm."""

STEPS = 3
PATIENCE = 2
"""Sizes in a row that may be slower before larger ones are taken to be so as well."""

MOST_MEMORY = 0.5
"""Of what is free on a device that swaps or is killed instead of refusing."""

WORTH_COMPILING = 1.05
REMEMBERED = 100


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was found."""

    micro_batch_size: int
    compiled: bool = False


# --- trying


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Steps of a model as the spec wants them. They leave gradients behind, and nothing else."""

    spec: SwarmSpec
    chosen: Device
    room: Room
    precision: Precision
    vocabulary: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.room.device

    @property
    def key(self) -> str:
        """What the outcome depends on, and holds for."""
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
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def seconds(self, network: torch.nn.Module, samples: int) -> float:
        """How long a step takes. Raises `torch.OutOfMemoryError`."""
        tokens = self._tokens(samples)
        first = self._time(network, tokens, steps=1)
        if first >= LONG_STEP_SECONDS:
            return first
        return self._time(network, tokens, steps=STEPS) / STEPS

    def _time(self, network: torch.nn.Module, tokens: torch.Tensor, *, steps: int) -> float:
        began = time.perf_counter()
        for _step in range(steps):
            self._loss(network, tokens).backward()
        wait_for(self.device)
        return time.perf_counter() - began

    def _tokens(self, samples: int) -> torch.Tensor:
        shape = (samples, self.spec.training.sequence_length + 1)
        return torch.randint(self.vocabulary, shape, device=self.device)

    def _loss(self, network: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        with self.precision.context(self.device):
            return loss_of(network, tokens)

    def bytes_a_sample(self, network: torch.nn.Module) -> int:
        """What a forward pass keeps for the backward pass."""
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        def sum_of(samples: int) -> int:
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                self._loss(network, self._tokens(samples))
            return sum(kept.values())

        return max(1, sum_of(2) - sum_of(1))  # the weights are in both


def fastest(seconds_of: Callable[[int], float], *, most: int) -> int:
    """The power of two, up to ``most``, by which the most samples a second are computed.

    seconds_of: times a step of so many samples, or raises `torch.OutOfMemoryError`. Raises
    `DeviceError` where not even one fits.
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
    """A single sample is too much for the device."""
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
) -> tuple[Tuned, torch.nn.Module]:
    """What is fastest, found now or before, and the model as it is to compute.

    A spec that says the size of a micro-batch leaves nothing to try. file: of what was found
    before, "" for none. say: told what goes on. Raises `DeviceError` where not even one sample
    fits.
    """
    most = trial.spec.training.most_samples_a_step(trial.device.type)
    if trial.spec.training.micro_batch_size != "auto":
        return Tuned(micro_batch_size=_allowed(trial, model, most=most)), model
    findings = TuningCache(Path(file) if file else None)
    tuned = findings.recall(trial.key)
    if tuned is None:
        tuned = _find(trial, model, most=most, say=say)
        findings.remember(trial.key, tuned)
    if not tuned.compiled:
        return tuned, model
    say(TrainerPhase.COMPILING)
    network = _compiled(trial, model, tuned.micro_batch_size)
    return (replace(tuned, compiled=False), model) if network is None else (tuned, network)


def _find(
    trial: Trial, model: torch.nn.Module, *, most: int, say: Callable[[TrainerPhase], None]
) -> Tuned:
    say(TrainerPhase.TUNING)
    on_cuda = trial.device.type == "cuda"
    if not on_cuda:
        most = min(most, _affordable(trial, model))
    size = fastest(partial(trial.seconds, model), most=most)
    release_memory(trial.device)
    if on_cuda:
        say(TrainerPhase.COMPILING)
    return Tuned(micro_batch_size=size, compiled=on_cuda and compiling_pays(trial, model, size))


def compiling_pays(trial: Trial, model: torch.nn.Module, samples: int) -> bool:
    """Whether torch.compile makes steps faster; it takes half a minute or so to find out."""
    plain = trial.seconds(model, samples)
    compiled = _compiled(trial, model, samples)
    return compiled is not None and plain > WORTH_COMPILING * trial.seconds(compiled, samples)


def _compiled(trial: Trial, model: torch.nn.Module, samples: int) -> torch.nn.Module | None:
    network = cast("torch.nn.Module", torch.compile(model))
    try:
        trial.seconds(network, samples)
    except Exception as error:  # noqa: BLE001  compilers fail in many ways
        log.warning("torch.compile fails here, so it isn't used: %r", error)
        return None
    return network


def _affordable(trial: Trial, model: torch.nn.Module) -> int:
    """Samples that the memory has room for, on a device that doesn't refuse what is too much."""
    samples = max(1, int(MOST_MEMORY * trial.room.available) // trial.bytes_a_sample(model))
    return _allowed(trial, model, most=samples)


def _allowed(trial: Trial, model: torch.nn.Module, *, most: int) -> int:
    """Samples for which the volunteer allows the memory; a device that refuses is asked later.

    Raises `DeviceError` where not even one is allowed.
    """
    if not trial.room.allowed or trial.device.type == "cuda":
        return most
    states = 2 if trial.spec.training.optimizer.name == "adamw" else 1
    coming = (1 + states) * sum(weights.nbytes for weights in model.parameters())
    a_sample = trial.bytes_a_sample(model)
    free = trial.room.free  # a look at all our processes
    if coming + a_sample > free:
        raise trial.room.not_allowed(coming + a_sample)
    return min(most, (free - coming) // a_sample)


def release_memory(device: torch.device) -> None:
    """Give back what torch keeps for later, in pieces that no longer fit."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def wait_for(device: torch.device) -> None:
    """Return when all that a device was given to compute is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# --- remembering


class TuningCache:
    """A file of what was found, newest last. One that can't be read or written, or None, is no
    harm: it is all found again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def recall(self, key: str) -> Tuned | None:
        """What was found for a key."""
        try:
            return Tuned(**self._read()[key])
        except (KeyError, TypeError):
            return None

    def remember(self, key: str, tuned: Tuned) -> None:
        """Keep a finding, and the newest others."""
        if self._path is None:
            return
        others = {name: value for name, value in self._read().items() if name != key}
        newest = list(others.items())[1 - REMEMBERED :]
        content = json.dumps(dict(newest) | {key: asdict(tuned)}, indent=1)
        try:
            write_atomically(self._path, content.encode())
        except OSError as error:
            log.warning("what was found isn't remembered: %s", error)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
