"""The loss that all models are trained with."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from app.spec.costs.chunks import CHUNK, LARGE_VOCABULARY
from app.trainer.model.adapters import inside


def loss_of(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each token given those before it: a float32 scalar.

    tokens: int64, shape [samples, sequence_length + 1], on the model's device.
    """
    inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
    if _is_chunked(model, inputs):
        return _chunked_loss(inside(model), inputs, targets)
    logits = model(input_ids=inputs, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets)


@torch.no_grad()
def mean_loss(
    model: torch.nn.Module,
    tokens: torch.Tensor,
    *,
    context: Callable[[torch.device], AbstractContextManager[object]],
) -> float:
    """Mean cross-entropy per token (nats) of samples, one by one, without dropout.

    tokens: int64, shape [samples, sequence_length + 1], on any device.
    context: from the model's device to the context in which the loss is computed.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with context(device):
            losses = [float(loss_of(model, each.to(device))) for each in tokens.split(1)]
    finally:
        model.train(was_training)
    return sum(losses) / len(losses)


# --- a large vocabulary


def can_chunk(model: torch.nn.Module) -> bool:
    """Whether the logits of a large vocabulary are computed some tokens at a time.

    PyTorch does so from 2.13 on. Not for logits that are changed before the loss is computed (the
    soft cap of gemma). Measured on CPUs in float32 only; what `torch.compile` makes of the whole
    loss holds no logits in float32 either.
    """
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        return False
    found: Any = inside(model)
    head = found.get_output_embeddings() if hasattr(found, "get_output_embeddings") else None
    if type(head) is not torch.nn.Linear or head.weight.dtype != torch.float32:
        return False
    large = head.out_features >= max(LARGE_VOCABULARY, head.in_features)
    return large and getattr(found.config, "final_logit_softcapping", None) is None


def _is_chunked(model: torch.nn.Module, inputs: torch.Tensor) -> bool:
    usual = (
        torch.compiler.is_compiling()
        or not torch.is_grad_enabled()
        or inputs.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    )
    return not usual and can_chunk(model)


def _chunked_loss(model: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss without the logits: no more than `CHUNK` tokens' are in memory at once."""
    hidden = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
    head = model.get_output_embeddings()
    loss: torch.Tensor = F.linear_cross_entropy(
        hidden.flatten(0, 1) / getattr(model.config, "logits_scaling", 1.0),
        head.weight,
        targets,
        linear_bias=head.bias,
        options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK, chunking_method=None),
    )
    return loss
