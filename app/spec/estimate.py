"""Estimate the memory, disk and network traffic that a swarm takes, from its spec alone.

Each figure consists of parts with a reason each. Parameter counts are exact; what depends on the
machine (libraries, kernels) may be wrong by some tens of percent. All sizes are in bytes. Torch
isn't imported, since a preview must not wait for that.
"""

from dataclasses import dataclass
from functools import partial

from app.common.i18n import _
from app.spec import architectures
from app.spec.architectures import Sizes
from app.spec.costs.activations import DeviceKind, autocast, logits_in_chunks, saved_bytes
from app.spec.costs.chunks import CHUNK
from app.spec.costs.disk import disk_of
from app.spec.costs.figures import FLOAT32, Amount, EstimatePart, optimizer_states
from app.spec.line import (
    CPU_SPEED,
    GPU_SPEED,
    HOUR,
    LineForecast,
    SwarmOnLines,
    forecast,
    update_bytes,
)
from app.spec.schema import SwarmSpec
from app.spec.sources.data import BytesTokenizer

NEARLY = 1.05
"""Two rates that differ by less are one in words."""

LIBRARIES = 700_000_000
"""Bytes of memory of the trainer's processes with a tiny model, measured on Linux."""

CUDA_CONTEXT = 500_000_000
"""Bytes of GPU memory that CUDA and its kernels take before the first tensor."""

SLOW_PEERS, FAST_PEERS = 2, 20
"""The smallest useful swarm, two laptops, and some consumer GPUs."""

SLOW_LINE, FAST_LINE = 12.5e6, 125e6
"""Bytes/s of network lines of 100 Mbit/s and 1 Gbit/s, which limit a round of averaging."""


@dataclass(frozen=True, kw_only=True)
class TrafficEstimate:
    """The traffic of one peer; upload and download are equal."""

    low: int
    """Bytes an hour in each direction in a slow swarm of two."""

    high: int
    """Bytes an hour in each direction in a fast, large swarm."""

    epoch: int
    """Bytes in each direction in one epoch of a large swarm."""

    epochs: tuple[float, float]
    """Epochs an hour in the slow and in the fast swarm."""

    why: tuple[str, ...]
    """Sentences for the user that explain the figures."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What training in a swarm takes of a machine with one kind of device."""

    parameters: int
    """Of the whole model, adapters included."""

    learning: int
    """Those that are trained, averaged and kept: all, or the adapters'."""

    memory: Amount
    """Of the device that computes: a GPU's own memory, or the machine's."""

    host: Amount
    """Of the machine's memory when a GPU computes; nothing for a CPU."""

    disk: Amount
    traffic: TrafficEstimate
    vocabulary_known: bool
    """False when the tokenizer is a file or a slot, which isn't read for the estimate."""


def estimate(spec: SwarmSpec, *, device: DeviceKind, room: int | None = None) -> Estimate:
    """Estimate what a swarm takes. Raises `SpecError` for a model with invalid sizes.

    room: bytes of the device's memory; None when unknown. With it, a micro-batch of ``auto`` counts
    as the largest that fits, since the trainer searches for that one.
    """
    samples = spec.training.most_samples_a_step(device)
    found = _estimate(spec, device=device, samples=samples)
    if spec.training.micro_batch_size == "auto" and room is not None:
        while found.memory.total > room and samples > 1:
            samples //= 2
            found = _estimate(spec, device=device, samples=samples)
        if found.memory.total > room:
            return _estimate(spec, device=device, samples=1, recomputed=True)
    return found


def _estimate(
    spec: SwarmSpec, *, device: DeviceKind, samples: int, recomputed: bool = False
) -> Estimate:
    vocabulary = _vocabulary(spec)
    fields = spec.model.fields
    sizes = architectures.sizes_of(spec.model.model_type, fields, vocabulary=vocabulary)
    base = architectures.parameter_count(spec.model.model_type, fields, sizes)
    adapters, count = spec.training.adapters, base
    if adapters is not None:
        count = architectures.adapter_count(spec.model.model_type, sizes, adapters)
    whole = base if adapters is None else base + count
    training = (
        *_model(spec, whole=whole, count=count, device=device),
        _activations(spec, sizes, device=device, samples=samples, recomputed=recomputed),
        *_chunk(spec, sizes, device=device),
    )
    buffers, on_cpu = _buffers(spec, count), device == "cpu"
    return Estimate(
        parameters=whole,
        learning=count,
        memory=Amount(parts=(*training, *(buffers if on_cpu else (_cuda(),)))),
        host=Amount(parts=() if on_cpu else buffers),
        disk=disk_of(spec, sizes, base=base, count=count),
        traffic=_traffic(spec, whole=whole, count=count),
        vocabulary_known=vocabulary is not None or "vocab_size" in fields,
    )


def _vocabulary(spec: SwarmSpec) -> int | None:
    is_bytes = isinstance(spec.data.tokenizer, BytesTokenizer)
    return architectures.BYTES_VOCABULARY if is_bytes else None


# --- memory


def _model(
    spec: SwarmSpec, *, whole: int, count: int, device: DeviceKind
) -> tuple[EstimatePart, ...]:
    """whole: all parameters. count: those that are trained."""
    states = optimizer_states(spec.training)
    a_parameter = (
        _("4 bytes a parameter")
        if whole == count
        else _("4 bytes a parameter of the adapters alone")
    )
    parts = [
        EstimatePart(
            name=_("Weights"), size=FLOAT32 * whole, why=_("4 bytes a parameter (float32)")
        ),
        EstimatePart(name=_("Gradients"), size=FLOAT32 * count, why=a_parameter),
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
        parts.append(EstimatePart(name=_("Half precision"), size=2 * whole, why=why))
    return tuple(parts)


def _activations(
    spec: SwarmSpec, sizes: Sizes, *, device: DeviceKind, samples: int, recomputed: bool
) -> EstimatePart:
    tokens = samples * spec.training.sequence_length
    a_token = saved_bytes(spec.model, sizes, spec.training, device=device, recomputed=recomputed)
    why = (
        _("one sample of {length} tokens a step; each layer is computed twice, to keep less")
        if recomputed
        else _("{samples} samples × {length} tokens a step, kept for the backward pass")
    )
    return EstimatePart(
        name=_("Activations"),
        size=tokens * a_token,
        why=why.format(samples=samples, length=f"{spec.training.sequence_length:,}"),
    )


def _chunk(spec: SwarmSpec, sizes: Sizes, *, device: DeviceKind) -> tuple[EstimatePart, ...]:
    """What it takes to compute the logits of a large vocabulary in chunks."""
    if not logits_in_chunks(spec.model, sizes, spec.training, device=device):
        return ()
    why = _("those of {count} tokens at a time, and the output layer's gradient once more")
    size = FLOAT32 * sizes.vocabulary * (2 * CHUNK + sizes.width)
    return (EstimatePart(name=_("Logits"), size=size, why=why.format(count=CHUNK)),)


def _buffers(spec: SwarmSpec, count: int) -> tuple[EstimatePart, ...]:
    """The parts that lie in the machine's memory, whichever device computes."""
    copies = 2 if spec.training.local_steps is None else 5
    why = (
        _("a copy of weights and of gradients that other peers average with")
        if spec.training.local_steps is None
        else _("the swarm's weights twice, what is sent, and what waits to be sent")
    )
    return (
        EstimatePart(name=_("Averaging"), size=copies * FLOAT32 * count, why=why),
        EstimatePart(
            name=_("Libraries"),
            size=LIBRARIES,
            why=_("PyTorch, Hivemind and their helper processes"),
        ),
    )


def _cuda() -> EstimatePart:
    return EstimatePart(name=_("CUDA"), size=CUDA_CONTEXT, why=_("the driver and its kernels"))


# --- traffic


def _traffic(spec: SwarmSpec, *, whole: int, count: int) -> TrafficEstimate:
    swarm = partial(SwarmOnLines, parameters=count, whole=whole)
    slow = forecast(spec, swarm(peers=SLOW_PEERS, line=SLOW_LINE, speed=CPU_SPEED))
    fast = forecast(spec, swarm(peers=FAST_PEERS, line=FAST_LINE, speed=GPU_SPEED))
    epochs = HOUR / slow.epoch_seconds, HOUR / fast.epoch_seconds
    state = FLOAT32 * count * (1 + optimizer_states(spec.training))
    return TrafficEstimate(
        low=slow.an_hour,
        high=fast.an_hour,
        epoch=fast.upload.usual,
        epochs=epochs,
        why=(
            _exchanged(spec, count=count, fast=fast),
            _epochs_text(spec, slow=epochs[0], fast=epochs[1]),
            _("Whoever comes later first downloads the state of the run once, {size}.").format(
                size=_size_text(state)
            ),
        ),
    )


def _exchanged(spec: SwarmSpec, *, count: int, fast: LineForecast) -> str:
    if spec.training.local_steps is None:
        return _(
            "In each epoch the peers average gradients and weights, {bytes} bytes a number;"
            " each sends up to twice that and receives as much."
        ).format(bytes=2 if spec.training.averaging.compression == "float16" else FLOAT32)
    return _(
        "In each epoch each peer tells all others what it has learnt, {size}. They pass it on to"
        " each other: of {peers} peers each sends {sum} on average, of two {size}."
    ).format(
        size=_size_text(update_bytes(spec.training, parameters=count)),
        peers=FAST_PEERS,
        sum=_size_text(fast.upload.usual),
    )


def _epochs_text(spec: SwarmSpec, *, slow: float, fast: float) -> str:
    if fast < slow * NEARLY:
        text = _(
            "{count} epochs an hour, on any machines: no epoch is shorter than the {seconds} s in"
            " which groups form."
        )
        seconds = f"{spec.training.averaging.matchmaking_seconds:g}"
        return text.format(count=_rounded(fast), seconds=seconds)
    return _(
        "{slow} to {fast} epochs an hour: two CPUs on lines of 100 Mbit/s take that long for a"
        " batch of {batch} samples, twenty GPUs on lines of 1 Gbit/s are that fast; no epoch is"
        " shorter than the {seconds} s in which groups form."
    ).format(
        slow=_rounded(slow),
        fast=_rounded(fast),
        batch=f"{spec.training.target_batch_size:,}",
        seconds=f"{spec.training.averaging.matchmaking_seconds:g}",
    )


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _size_text(size: int) -> str:
    gib, mib = size / 2**30, size / 2**20
    if gib >= 1:
        return f"{gib:,.1f} GiB"
    return f"{mib:,.0f} MiB" if mib >= 10 else f"{mib:.2g} MiB"
