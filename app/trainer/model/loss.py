"""The loss that all models are trained with."""

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name


def loss_of(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each token given those before it: a float32 scalar.

    tokens: int64, shape [samples, sequence_length + 1], on the model's device.
    """
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
