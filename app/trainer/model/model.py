"""The model, its loss, its optimizer and its precision, each from the spec alone.

All peers must start from the same weights and take the same steps, so nothing here depends on
the machine except where the model lives and in which precision it computes.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - what everybody calls it
from torch.optim.lr_scheduler import LambdaLR

from app.common.errors import DeviceError, SpecError
from app.common.i18n import _
from app.spec.schema import OptimizerSpec, ScheduleSpec, SwarmSpec
from app.trainer.room import Room, gib

# transformers is imported late: half of its seconds are torch._dynamo, which the first optimizer
# step needs anyway, but `precision_for` and a test of it don't.

_MAX_LAYERS = 1000
_MAX_NUMBER = 2**24
"""Bounds of what a spec may say: the library makes layers and lists that long before it looks."""

_LAYERS = ("num_hidden_layers", "num_layers", "n_layer")
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
"""No fields any more, but config classes with ``rope_parameters`` still understand them."""

_FLOAT32 = 4  # bytes
_BF16_CAPABILITY = (8, 0)  # Ampere; older CUDA devices would only emulate it


def build_model(spec: SwarmSpec, *, vocabulary_size: int, room: Room) -> torch.nn.Module:
    """The spec's model, in float32, in training mode, in the memory of the room's device.

    The weights are drawn from the spec's seed on the CPU, whatever the device, so that all peers
    start from the same model. torch's random state stays as it was.

    vocabulary_size: the tokenizer's. Raises `SpecError`, or `DeviceError` where it can't fit.
    """
    config = _config(spec, vocabulary_size=vocabulary_size)
    _check_memory(_sketch(config), optimizer=spec.training.optimizer, room=room)
    with _refusals(), torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would set the seed of every CUDA device too
        torch.default_generator.manual_seed(spec.training.seed)
        model = _from_config(config)
        _rehearse(model)
    return model.to(room.device)


def parameter_count(spec: SwarmSpec, *, vocabulary_size: int) -> int:
    """How many parameters the model has, shared ones once. None is allocated.

    Raises `SpecError`.
    """
    sketch = _sketch(_config(spec, vocabulary_size=vocabulary_size))
    return sum(parameter.numel() for parameter in sketch.parameters())


def loss_of(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each token given those before it: a float32 scalar.

    tokens: int64, shape [samples, sequence_length + 1], on the model's device.
    """
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


# --- how it computes


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What the forward pass computes in; weights, gradients and optimizer stay float32.

    autocast: the type that `torch.autocast` uses, None for none. needs_scaler: gradients would
    underflow in float16 unless the loss is scaled.
    """

    name: Literal["fp32", "bf16", "fp16"]
    autocast: torch.dtype | None = None
    needs_scaler: bool = False

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """What to compute a loss within."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.autocast)


FP32 = Precision(name="fp32")
BF16 = Precision(name="bf16", autocast=torch.bfloat16)
FP16 = Precision(name="fp16", autocast=torch.float16, needs_scaler=True)


def precision_for(
    device: torch.device, wanted: Literal["auto", "fp32", "bf16", "fp16"]
) -> Precision:
    """The wanted precision, or the best of the device. Raises `SpecError` if it can't have it."""
    possible = _precisions(device)
    if wanted == "auto":
        return possible[0]
    for precision in possible:
        if precision.name == wanted:
            return precision
    names = ", ".join(each.name for each in possible)
    raise SpecError(
        _("{precision} can't be computed on {device}.").format(precision=wanted, device=device),
        field="training_params.precision",
        remedy=_("Use auto, or one of: {names}.").format(names=names),
    )


def _precisions(device: torch.device) -> tuple[Precision, ...]:
    """Best first."""
    if device.type == "cpu":
        return FP32, BF16  # bfloat16 is right but slow without AMX
    if device.type != "cuda":
        return (FP32,)  # mps: autocast is too young
    if torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY:
        return BF16, FP16, FP32
    return FP16, FP32


# --- how it learns


def optimizer_for(spec: SwarmSpec) -> Callable[[Any], torch.optim.Optimizer]:
    """What makes the spec's optimizer from parameters or parameter groups."""
    wanted = spec.training.optimizer
    rate, decay = wanted.learning_rate, wanted.weight_decay
    if wanted.name == "sgd":
        return partial(torch.optim.SGD, lr=rate, weight_decay=decay, momentum=wanted.momentum)
    return partial(
        torch.optim.AdamW, lr=rate, weight_decay=decay, betas=wanted.betas, eps=wanted.eps
    )


def scheduler_for(spec: SwarmSpec) -> Callable[[torch.optim.Optimizer], LambdaLR] | None:
    """What makes the schedule, to be stepped once an epoch; None for a constant rate."""
    schedule = spec.training.schedule
    if schedule.name == "constant" and schedule.warmup_epochs == 0:
        return None
    return partial(LambdaLR, lr_lambda=partial(_share_of_rate, schedule))


def _share_of_rate(schedule: ScheduleSpec, epoch: int) -> float:
    """What part of the learning rate is used in an epoch: it rises evenly over the warm-up,
    whose first epoch learns too, is 1 after it, and 0 from total_epochs on."""
    if epoch < schedule.warmup_epochs:
        return (epoch + 1) / (schedule.warmup_epochs + 1)
    if schedule.name == "constant" or schedule.total_epochs is None:
        return 1.0
    length = schedule.total_epochs - schedule.warmup_epochs
    done = min(1.0, (epoch - schedule.warmup_epochs) / length)
    return 1.0 - done if schedule.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


# --- what the library doesn't check


def _config(spec: SwarmSpec, *, vocabulary_size: int) -> Any:
    from transformers import CONFIG_MAPPING

    kind: Any = CONFIG_MAPPING[spec.model.model_type]
    fields = spec.model.fields
    _check_names(fields, kind=kind)
    _check_numbers(fields, where="model_config")
    # The library's special tokens belong to its own checkpoints' vocabularies, and a padding
    # token would be one whose embedding never learns: there are none unless the spec says so.
    defaults = {"vocab_size": vocabulary_size, **dict.fromkeys(_SPECIAL_TOKENS)}
    with _refusals():
        config = kind(**{**defaults, **fields}, use_cache=False)
    _check_vocabulary(config, vocabulary_size=vocabulary_size)
    _check_positions(config, sequence_length=spec.training.sequence_length)
    return config


def _check_names(fields: dict[str, Any], *, kind: Any) -> None:
    """The library takes any name without a word, so a misspelt one would train another model."""
    known = _names_of(kind)
    for name in fields:
        if name not in known:
            remedy = _("It has: {names}.").format(names=", ".join(known))
            for near in difflib.get_close_matches(name, known, n=1):
                remedy = _("Did you mean {name}?").format(name=near)
            raise SpecError(
                _("{model_type} has no such field.").format(model_type=kind.model_type),
                field=f"model_config.{name}",
                remedy=remedy,
            )


def _names_of(kind: Any) -> list[str]:
    """The fields that the class itself adds to every model's, and their other names."""
    from transformers import PretrainedConfig

    common = {field.name for field in dataclasses.fields(PretrainedConfig)} | {"use_cache"}
    own = {field.name for field in dataclasses.fields(kind)} - common
    rope = _ROPE if "rope_parameters" in own else ()
    return sorted(own.union(kind.attribute_map, rope))


def _check_numbers(value: Any, *, where: str) -> None:
    """Refuse numbers that would keep the library busy for hours or fill the memory."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, where=f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, where=where)
    elif isinstance(value, int):
        limit = _MAX_LAYERS if where.endswith(_LAYERS) else _MAX_NUMBER
        if value > limit:
            remedy = _("At most {limit:,} is allowed.").format(limit=limit)
            raise SpecError(_("is {value:,}.").format(value=value), field=where, remedy=remedy)


def _check_vocabulary(config: Any, *, vocabulary_size: int) -> None:
    if config.vocab_size < vocabulary_size:
        message = _("is {size:,}, but the tokenizer has {tokens:,} tokens.")
        remedy = _("Make it at least {tokens:,}, or leave it out.")
        raise SpecError(
            message.format(size=config.vocab_size, tokens=vocabulary_size),
            field="model_config.vocab_size",
            remedy=remedy.format(tokens=vocabulary_size),
        )
    for name in _SPECIAL_TOKENS:
        token = getattr(config, name)
        if isinstance(token, int) and not 0 <= token < config.vocab_size:
            message = _("is {token:,}, outside the vocabulary of {size:,} tokens.")
            raise SpecError(
                message.format(token=token, size=config.vocab_size),
                field=f"model_config.{name}",
                remedy=_("Leave it out."),
            )


def _check_positions(config: Any, *, sequence_length: int) -> None:
    positions = config.max_position_embeddings
    if sequence_length > positions:
        name = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
        message = _("is {length:,}, but the model has {positions:,} positions.")
        remedy = _("Lower it to {positions:,}, or raise {field}.")
        raise SpecError(
            message.format(length=sequence_length, positions=positions),
            field="training_params.sequence_length",
            remedy=remedy.format(positions=positions, field=f"model_config.{name}"),
        )


def _check_memory(sketch: torch.nn.Module, *, optimizer: OptimizerSpec, room: Room) -> None:
    """Refuse what can't fit, before a machine swaps itself to death over it.

    Counts weights, gradients and optimizer state, which is the least; activations come on top.
    """
    count = sum(parameter.numel() for parameter in sketch.parameters())
    state = 2 if optimizer.name == "adamw" else int(optimizer.momentum > 0)
    buffers = sum(buffer.nbytes for buffer in sketch.buffers())
    needed, available = count * _FLOAT32 * (2 + state) + buffers, room.available
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
    if needed > room.free:
        raise room.not_allowed(needed)


# --- the library's edge


def _sketch(config: Any) -> torch.nn.Module:
    """The model without memory: shapes alone."""
    with _refusals(), torch.device("meta"):
        return _from_config(config)


def _from_config(config: Any) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    # attention is torch's own (sdpa) where the model has it, which all but gpt_neo do
    model: torch.nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model.train()


def _rehearse(model: torch.nn.Module) -> None:
    """Run three tokens through: some fields only clash here, such as the number of key heads."""
    model.eval()
    with torch.no_grad():
        loss_of(model, torch.zeros(1, 3, dtype=torch.int64))
    model.train()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the library raises over a config into a `SpecError`.

    It has no common error: a wrong value may fail a validator, a division or a look-up.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        StrictDataclassError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        message = _("the library refuses it: {reason}")
        raise SpecError(
            message.format(reason=f"{type(error).__name__}: {reason[:400]}"),
            field="model_config",
            remedy=_(
                "(Sizes and numbers of heads must fit each other; what the spec leaves out has this"
                " model type's default.)"
            ),
        ) from error
