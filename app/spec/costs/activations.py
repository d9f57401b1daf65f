"""What a step keeps for its backward pass, in bytes a token."""

import functools
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from app.spec.architectures import Sizes
from app.spec.costs.chunks import CHUNKS_SINCE, LARGE_VOCABULARY
from app.spec.costs.figures import FLOAT32
from app.spec.families import FAMILIES
from app.spec.schema import ModelSpec
from app.spec.training import TrainingSpec

DeviceKind = Literal["cpu", "gpu"]


def logits_in_chunks(
    model: ModelSpec, sizes: Sizes, training: TrainingSpec, *, device: DeviceKind
) -> bool:
    """Whether no more than the logits of `CHUNK` tokens are in memory at a time.

    Not on a GPU, where model and loss are compiled together; not in 16 bits, which CPUs are slow
    to compute so; and not for logits that are changed before the loss is computed.
    """
    capped = model.fields.get("final_logit_softcapping", FAMILIES[model.model_type].soft_cap)
    return (
        device == "cpu"
        and not autocast(training, device)
        and not capped
        and sizes.vocabulary >= max(LARGE_VOCABULARY, sizes.width)
        and _torch_can_chunk()
    )


@functools.cache
def _torch_can_chunk() -> bool:
    try:
        major, minor = version("torch").split(".")[:2]
    except PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= CHUNKS_SINCE


def autocast(training: TrainingSpec, device: DeviceKind) -> bool:
    """Whether the trainer computes in 16 bits on this kind of device."""
    return training.precision in ("bf16", "fp16") or (
        training.precision == "auto" and device == "gpu"
    )


def saved_bytes(
    model: ModelSpec,
    sizes: Sizes,
    training: TrainingSpec,
    *,
    device: DeviceKind,
    recomputed: bool = False,
) -> int:
    """Bytes that a step keeps for each of its tokens.

    Each block saves tensors for the backward pass; the logits and their gradient take three times
    the vocabulary in float32, or nothing where they are computed in chunks.

    recomputed: each block saves its input only, and one at a time the rest.
    """
    family, half = FAMILIES[model.model_type], autocast(training, device)
    per_width, per_feed_forward = family.saved[2:] if half else family.saved[:2]
    width = max(sizes.width, sizes.heads * sizes.head_dim)
    inner = sizes.feed_forward
    if sizes.experts is not None:
        inner = sizes.experts.chosen * sizes.experts.width
    block = per_width * width + per_feed_forward * inner
    scores = _saved_scores(model, device=device) * sizes.heads * training.sequence_length
    blocks = sizes.layers * (block + scores)
    if recomputed:
        blocks = min(blocks, sizes.layers * FLOAT32 * sizes.width + block + scores)
    in_chunks = logits_in_chunks(model, sizes, training, device=device)
    return blocks if in_chunks else blocks + 3 * FLOAT32 * sizes.vocabulary


def _saved_scores(model: ModelSpec, *, device: DeviceKind) -> int:
    """Bytes for each pair of tokens and each head.

    Attention saves its score matrix only with dropout on a CPU, and always in GPT-Neo.
    """
    kept = FAMILIES[model.model_type].saved_scores
    default = 0.1 if model.model_type == "gpt2" else 0.0
    dropout = model.fields.get("attn_pdrop", model.fields.get("attention_dropout", default))
    return 3 * FLOAT32 if dropout and device == "cpu" and not kept else kept
