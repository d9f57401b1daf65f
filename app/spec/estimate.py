"""What a swarm will take of a machine, from its spec alone: memory, disk, traffic.

Each figure comes in parts, and each part says why. What depends on the machine (libraries,
kernels) is an estimate within some tens of percent; the counts behind it are exact. Bytes
throughout. No torch: a preview must not wait for it.
"""

from dataclasses import dataclass
from typing import Literal

from app.common.i18n import _
from app.spec import architectures
from app.spec.architectures import FAMILIES, Sizes
from app.spec.schema import (
    BuiltinData,
    BytesTokenizer,
    FileData,
    HttpsData,
    ModelSpec,
    SwarmSpec,
    TrainingSpec,
)

DeviceKind = Literal["cpu", "gpu"]

FLOAT32 = 4
KEPT_CHECKPOINTS = 2
"""As the trainer keeps them; one more is there while it is written."""

LIBRARIES = 700_000_000
"""What the trainer's processes take around a tiny model, measured on Linux."""

CUDA_CONTEXT = 500_000_000
"""What CUDA and its kernels take of a GPU before the first tensor."""

DOCUMENTATION = 480_000
"""The text that ships with Python."""

SLOW_SWARM = 1e11
"""FLOP/s of two laptops' CPUs: the slowest swarm that is worth the name."""

FAST_SWARM = 5e14
"""FLOP/s of some twenty consumer GPUs, as they do in training, not on paper."""

SLOW_LINE, FAST_LINE = 12.5e6, 125e6
"""Bytes/s of a line of 100 Mbit/s and of 1 Gbit/s, which each round of averaging has to pass."""

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class EstimatePart:
    """One reason for a figure. size: bytes, None where nobody can know it beforehand."""

    name: str
    size: int | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A figure and what it is made of."""

    parts: tuple[EstimatePart, ...]

    @property
    def total(self) -> int:
        """The sum of what is known."""
        return sum(part.size or 0 for part in self.parts)

    @property
    def complete(self) -> bool:
        """Every part is known."""
        return all(part.size is not None for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class TrafficEstimate:
    """Bytes an hour, as much in each direction: in a slow swarm of two, and in a fast large one.

    epoch: bytes a peer sends in one epoch of a large swarm. epochs: an hour, slow and fast.
    """

    low: int
    high: int
    epoch: int
    epochs: tuple[float, float]
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What training in a swarm takes of a machine with such a device.

    memory: where the model computes, a GPU's own or the machine's. host: what a GPU's training
    takes of the machine's memory besides; nothing on a CPU, where `memory` is all of it.
    vocabulary_known: False where the tokenizer is a file that wasn't read for this.
    """

    parameters: int
    memory: Amount
    host: Amount
    disk: Amount
    traffic: TrafficEstimate
    vocabulary_known: bool


def estimate(spec: SwarmSpec, *, device: DeviceKind, room: int | None = None) -> Estimate:
    """Estimate what a swarm takes. Raises `SpecError` for a model whose sizes make no sense.

    room: bytes of the device's memory, where known. A micro-batch that the spec leaves to each
    machine is then taken to be as large as fits in there, since the trainer looks for such a one.
    """
    samples = spec.training.most_samples_a_step(device)
    found = _estimate(spec, device=device, samples=samples)
    if spec.training.micro_batch_size == "auto" and room is not None:
        while found.memory.total > room and samples > 1:
            samples //= 2
            found = _estimate(spec, device=device, samples=samples)
    return found


def _estimate(spec: SwarmSpec, *, device: DeviceKind, samples: int) -> Estimate:
    vocabulary = _vocabulary(spec)
    fields = spec.model.fields
    sizes = architectures.sizes_of(spec.model.model_type, fields, vocabulary=vocabulary)
    count = architectures.parameter_count(spec.model.model_type, fields, sizes)
    training = (
        *_model(spec, count=count, device=device),
        _activations(spec, sizes, device=device, samples=samples),
    )
    buffers, on_cpu = _buffers(count), device == "cpu"
    return Estimate(
        parameters=count,
        memory=Amount(parts=(*training, *(buffers if on_cpu else (_cuda(),)))),
        host=Amount(parts=() if on_cpu else buffers),
        disk=_disk(spec, sizes, count=count),
        traffic=_traffic(spec, count=count),
        vocabulary_known=vocabulary is not None or "vocab_size" in fields,
    )


def _vocabulary(spec: SwarmSpec) -> int | None:
    is_bytes = isinstance(spec.data.tokenizer, BytesTokenizer)
    return architectures.BYTES_VOCABULARY if is_bytes else None


# --- memory


def _model(spec: SwarmSpec, *, count: int, device: DeviceKind) -> tuple[EstimatePart, ...]:
    states = _optimizer_states(spec.training)
    parts = [
        EstimatePart(
            name=_("Weights"), size=FLOAT32 * count, why=_("4 bytes a parameter (float32)")
        ),
        EstimatePart(name=_("Gradients"), size=FLOAT32 * count, why=_("4 bytes a parameter")),
        EstimatePart(
            name=_("Optimizer"),
            size=FLOAT32 * states * count,
            why=_("{name}: {count} values of 4 bytes a parameter").format(
                name=spec.training.optimizer.name, count=states
            ),
        ),
    ]
    if autocast(spec.training, device):
        why = _("the weights once more in 16 bits while a step computes")
        parts.append(EstimatePart(name=_("Half precision"), size=2 * count, why=why))
    return tuple(parts)


def _optimizer_states(training: TrainingSpec) -> int:
    if training.optimizer.name == "adamw":
        return 2
    return int(training.optimizer.momentum > 0)


def autocast(training: TrainingSpec, device: DeviceKind) -> bool:
    """Whether the trainer computes in 16 bits there."""
    return training.precision in ("bf16", "fp16") or (
        training.precision == "auto" and device == "gpu"
    )


def _activations(
    spec: SwarmSpec, sizes: Sizes, *, device: DeviceKind, samples: int
) -> EstimatePart:
    tokens = samples * spec.training.sequence_length
    a_token = saved_bytes(spec.model, sizes, spec.training, device=device)
    return EstimatePart(
        name=_("Activations"),
        size=tokens * a_token,
        why=_("{samples} samples × {length} tokens a step, kept for the backward pass").format(
            samples=samples, length=f"{spec.training.sequence_length:,}"
        ),
    )


def saved_bytes(
    model: ModelSpec, sizes: Sizes, training: TrainingSpec, *, device: DeviceKind
) -> int:
    """Bytes that a step holds for each of its tokens: what each block saves for the backward
    pass, and the logits with their gradient (three times the vocabulary in float32)."""
    family, half = FAMILIES[model.model_type], autocast(training, device)
    per_width, per_feed_forward = family.saved[2:] if half else family.saved[:2]
    width = max(sizes.width, sizes.heads * sizes.head_dim)
    block = per_width * width + per_feed_forward * sizes.feed_forward
    scores = _saved_scores(model, device=device) * sizes.heads * training.sequence_length
    return sizes.layers * (block + scores) + 3 * FLOAT32 * sizes.vocabulary


def _saved_scores(model: ModelSpec, *, device: DeviceKind) -> int:
    """Bytes for each pair of tokens and head. Attention keeps its matrix only where it drops
    some of it out on a CPU, or knows no better (GPT-Neo)."""
    kept = FAMILIES[model.model_type].saved_scores
    default = 0.1 if model.model_type == "gpt2" else 0.0
    dropout = model.fields.get("attn_pdrop", model.fields.get("attention_dropout", default))
    return 3 * FLOAT32 if dropout and device == "cpu" and not kept else kept


def _buffers(count: int) -> tuple[EstimatePart, ...]:
    """What lies in the machine's own memory, whatever the device."""
    return (
        EstimatePart(
            name=_("Averaging"),
            size=2 * FLOAT32 * count,
            why=_("a copy of weights and of gradients that other peers average with"),
        ),
        EstimatePart(
            name=_("Libraries"),
            size=LIBRARIES,
            why=_("PyTorch, Hivemind and their helper processes"),
        ),
    )


def _cuda() -> EstimatePart:
    return EstimatePart(name=_("CUDA"), size=CUDA_CONTEXT, why=_("the driver and its kernels"))


# --- disk


def _disk(spec: SwarmSpec, sizes: Sizes, *, count: int) -> Amount:
    size = FLOAT32 * count * (1 + _optimizer_states(spec.training))
    checkpoints = EstimatePart(
        name=_("Checkpoints"),
        size=(KEPT_CHECKPOINTS + 1) * size,
        why=_("weights and optimizer, the newest {count} and one that is being written").format(
            count=KEPT_CHECKPOINTS
        ),
    )
    return Amount(parts=(checkpoints, _data(spec, sizes)))


def _data(spec: SwarmSpec, sizes: Sizes) -> EstimatePart:
    width = 1 if sizes.vocabulary <= 2**8 else 2 if sizes.vocabulary <= 2**16 else FLOAT32
    name = _("Training data")
    match spec.data:
        case BuiltinData():
            why = _("Python's documentation as tokens")
            return EstimatePart(name=name, size=DOCUMENTATION * width, why=why)
        case FileData():
            why = _("the files once more as tokens, up to {count} bytes for each of theirs")
            return EstimatePart(name=name, size=None, why=why.format(count=width))
        case HttpsData():
            why = _("the download, and once more as tokens, up to {count} bytes for each of its")
            return EstimatePart(name=name, size=None, why=why.format(count=width))
        case _:
            return EstimatePart(name=name, size=0, why=_("streamed, not kept"))


# --- traffic


def _traffic(spec: SwarmSpec, *, count: int) -> TrafficEstimate:
    width = 2 if spec.training.averaging.compression == "float16" else FLOAT32
    once = 2 * width * count  # weights and gradients, each once through the wire
    slow, fast = _epochs(spec, count=count, once=once)
    state = FLOAT32 * count * (1 + _optimizer_states(spec.training))
    return TrafficEstimate(
        low=round(slow * once),
        high=round(fast * 2 * once),
        epoch=2 * once,
        epochs=(slow, fast),
        why=(
            _(
                "In each epoch the peers average gradients and weights, {bytes} bytes a number;"
                " each sends up to twice that and receives as much."
            ).format(bytes=width),
            _epochs_in_words(spec, slow=slow, fast=fast),
            _("Whoever comes later first downloads the state of the run once, {size}.").format(
                size=_rough(state)
            ),
        ),
    )


def _epochs(spec: SwarmSpec, *, count: int, once: int) -> tuple[float, float]:
    """Epochs an hour in the slowest and the fastest swarm that one may meet."""
    tokens = spec.training.target_batch_size * spec.training.sequence_length
    work = 6.0 * count * tokens  # forward and backward: 6 operations a parameter and token
    shortest = spec.training.averaging.matchmaking_seconds
    slow = max(work / SLOW_SWARM, shortest) + once / SLOW_LINE
    fast = max(work / FAST_SWARM, shortest) + 2 * once / FAST_LINE
    return HOUR / slow, HOUR / fast


def _epochs_in_words(spec: SwarmSpec, *, slow: float, fast: float) -> str:
    return _(
        "{slow} to {fast} epochs an hour: two CPUs on lines of 100 Mbit/s take that long for a"
        " batch of {batch} samples, twenty GPUs on lines of 1 Gbit/s are that fast; no epoch is"
        " shorter than the {seconds} s in which groups form."
    ).format(
        slow=_about(slow),
        fast=_about(fast),
        batch=f"{spec.training.target_batch_size:,}",
        seconds=f"{spec.training.averaging.matchmaking_seconds:g}",
    )


def _about(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _rough(size: int) -> str:
    gib = size / 2**30
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{size / 2**20:,.0f} MiB"
