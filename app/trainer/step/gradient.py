"""Forward and backward of a micro-batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from app.trainer.step.trying import LossFunction
from app.trainer.step.waiting import LateValues


def add_gradient(
    tokens: torch.Tensor,
    *,
    loss_of: LossFunction,
    autocast: Callable[[], AbstractContextManager[object]],
    backward: Callable[[torch.Tensor, int], None],
    losses: LateValues,
) -> bool:
    """Add the gradient of samples; False when their loss is known not to be finite, and nothing
    was added.

    tokens: int64, shape [samples, sequence_length + 1], on the device. autocast: makes the context
    of the forward pass. backward: called with the loss, a scalar, and the number of its samples.
    losses: gets the loss.

    Raises `torch.OutOfMemoryError`.
    """
    with autocast():
        loss = loss_of(tokens)
    if not (losses.are_late or torch.isfinite(loss)):
        return False
    backward(loss, len(tokens))
    losses.add(loss.detach())
    return True
