"""Build the model of a spec."""

from typing import Any

import psutil
import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.spec.architectures import adapter_count, sizes_of
from app.spec.schema import SwarmSpec
from app.trainer.model.adapters import load_state, with_adapters
from app.trainer.model.attention import attend_causally
from app.trainer.model.config import config_of, refusals
from app.trainer.model.loss import loss_of
from app.trainer.model.pretrained import Pretrained, check_size, load_pretrained
from app.trainer.room import Room, gib

_FLOAT32 = 4
"""Bytes."""


def build_model(
    spec: SwarmSpec, *, vocabulary_size: int, room: Room, pretrained: Pretrained | None = None
) -> torch.nn.Module:
    """The spec's model with its adapters, in float32, in training mode, on the room's device.

    Weights that aren't pretrained are drawn from the spec's seed on the CPU, whatever the device,
    so that all peers start from the same weights. torch's random state stays as it was.

    vocabulary_size: of the tokenizer. pretrained: the weights of a spec that begins with some.

    Raises `SpecError`, `DataError` for weights that don't fit, or `DeviceError` where the model
    can't fit.
    """
    published = None if pretrained is None else pretrained.config
    config = config_of(spec, vocabulary_size=vocabulary_size, published=published)
    sketch = _sketch(config)
    if pretrained is not None:
        check_size(sketch, spec)
    _check_memory(sketch, spec, room=room)
    with refusals(), torch.random.fork_rng(devices=[]):
        # torch.manual_seed would set the seed of every CUDA device too.
        torch.default_generator.manual_seed(spec.training.seed)
        model = _from_config(config) if pretrained is None else load_pretrained(config, pretrained)
        _rehearse(model)
        torch.default_generator.manual_seed(spec.training.seed)
        model = with_adapters(model, spec)
        attend_causally(model, sequence_length=spec.training.sequence_length)
    return model.to(room.device)


def model_with(
    state: dict[str, torch.Tensor],
    spec: SwarmSpec,
    *,
    vocabulary_size: int,
    pretrained: Pretrained | None = None,
) -> torch.nn.Module:
    """What `model_to_fill` gives, with what a checkpoint keeps of it.

    state: see `state_of`. Raises likewise.
    """
    model = model_to_fill(spec, vocabulary_size=vocabulary_size, pretrained=pretrained)
    load_state(model, state)
    return model


def model_to_fill(
    spec: SwarmSpec, *, vocabulary_size: int, pretrained: Pretrained | None = None
) -> torch.nn.Module:
    """The spec's model with its adapters, in float32, in evaluation mode, in the machine's memory;
    whatever training changes has made-up values.

    pretrained: the weights of a spec that begins with some. Raises `SpecError`, `DataError` for
    weights that don't fit, or `DeviceError` where the model can't fit.
    """
    published = None if pretrained is None else pretrained.config
    config = config_of(spec, vocabulary_size=vocabulary_size, published=published)
    count = sum(parameter.numel() for parameter in _sketch(config).parameters())
    needed, available = count * _FLOAT32, int(psutil.virtual_memory().available)
    if needed > available:
        raise _too_large(count, needed=needed, available=available)
    with refusals():
        if pretrained is None or spec.training.adapters is None:
            model = _from_config(config)  # the state has all weights
        else:
            model = with_adapters(load_pretrained(config, pretrained), spec)
    return model.eval()


def parameter_count(spec: SwarmSpec, *, vocabulary_size: int) -> int:
    """How many parameters the spec's model has; shared ones count once. Allocates none.

    Raises `SpecError`.
    """
    sketch = _sketch(config_of(spec, vocabulary_size=vocabulary_size))
    return sum(parameter.numel() for parameter in sketch.parameters())


def _check_memory(sketch: torch.nn.Module, spec: SwarmSpec, *, room: Room) -> None:
    """Refuse a model that can't fit, before the machine swaps until it hangs.

    Counts weights, gradients and optimizer state; training needs activations on top of them.

    sketch: without the adapters. Raises `DeviceError`.
    """
    optimizer = spec.training.optimizer
    count = sum(parameter.numel() for parameter in sketch.parameters())
    learns, frozen = _learning(spec, count)
    state = 2 if optimizer.name != "sgd" else int(optimizer.momentum > 0)
    buffers = sum(buffer.nbytes for buffer in sketch.buffers())
    needed = _FLOAT32 * (frozen + learns * (2 + state)) + buffers
    available = room.available
    if needed > available:
        message = _(
            "a model of {count:,} parameters takes {needed} to train, but {device} has {free} free."
        )
        raise DeviceError(
            message.format(
                count=count, needed=gib(needed), device=room.device, free=gib(available)
            ),
            field="model_config",
            remedy=_(
                "Choose a device with more memory, close other programs, or join a swarm with a"
                " smaller model."
            ),
        )
    _check_host(count, learns=learns, room=room)
    if needed > room.free:
        raise room.not_allowed(needed)


def _learning(spec: SwarmSpec, count: int) -> tuple[int, int]:
    """How many parameters are trained, and how many are frozen beside them. count: without the
    adapters."""
    adapters, kind = spec.training.adapters, spec.model.model_type
    if adapters is None:
        return count, 0
    sizes = sizes_of(kind, spec.model.fields, vocabulary=None)
    return adapter_count(kind, sizes, adapters), count


def _check_host(count: int, *, learns: int, room: Room) -> None:
    """Refuse a model that fits a GPU but not the machine: it is built on the CPU, and hivemind
    averages copies of weights and gradients there. Raises `DeviceError`."""
    needed = _FLOAT32 * max(count, 2 * learns)
    available = int(psutil.virtual_memory().available)
    if room.device.type == "cuda" and needed > available:
        raise _too_large(count, needed=needed, available=available)


def _too_large(count: int, *, needed: int, available: int) -> DeviceError:
    message = _(
        "a model of {count:,} parameters takes {needed} of this machine's memory, but {free} are"
        " free."
    )
    return DeviceError(
        message.format(count=count, needed=gib(needed), free=gib(available)),
        field="model_config",
        remedy=_("Close other programs, or join a swarm with a smaller model."),
    )


def _sketch(config: Any) -> torch.nn.Module:
    """The model on the meta device: shapes without memory."""
    with refusals(), torch.device("meta"):
        return _from_config(config)


def _from_config(config: Any) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    # Attention is torch's own (sdpa), except in gpt_neo, which has its own.
    model: torch.nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model.train()


def _rehearse(model: torch.nn.Module) -> None:
    """Run three tokens through: some fields, such as the number of key heads, clash only here."""
    model.eval()
    with torch.no_grad():
        loss_of(model, torch.zeros(1, 3, dtype=torch.int64))
    model.train()
