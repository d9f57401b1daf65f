"""The loss that all models are trained with."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name


def loss_of(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each token given those before it: a float32 scalar.

    tokens: int64, shape [samples, sequence_length + 1], on the model's device.
    """
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


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
