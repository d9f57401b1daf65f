"""Computing activations once more in the backward pass, where there is no room to keep them."""

import logging

import torch

from app.trainer.model.adapters import inside

log = logging.getLogger(__name__)


def recompute_activations(model: torch.nn.Module) -> bool:
    """Keep only the input of each layer from now on; False for a model that can't.

    The loss and the gradients stay the same to the bit, so it is a machine's own choice. A step
    takes about a quarter longer, since it runs forward twice.
    """
    model = inside(model)
    # transformers 5.24 calls it so; before, it was `gradient_checkpointing_enable`
    enable = getattr(model, "activation_checkpointing_enable", None)
    enable = enable or getattr(model, "gradient_checkpointing_enable", None)
    if enable is None or not getattr(model, "supports_gradient_checkpointing", False):
        return False
    enable()
    log.warning("the memory is short: activations are computed once more in the backward pass")
    return True
