"""Recomputed activations change the memory, not what is learnt."""

from typing import Any

import pytest
import torch

from app.spec.architectures import sizes_of
from app.spec.costs.activations import saved_bytes
from app.spec.families import FAMILIES
from app.trainer.model.activations import recompute_activations
from app.trainer.model.loss import loss_of
from tests.support.training.models import built, spec_of, tokens

NO_DROPOUT: dict[str, dict[str, Any]] = {
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt_neo": {"resid_dropout": 0.0, "embed_dropout": 0.0, "attention_dropout": 0.0},
    "opt": {"dropout": 0.0},
}


def learnt(model: torch.nn.Module) -> tuple[list[torch.Tensor], int]:
    """The gradients of a step, and the bytes that the forward pass has kept."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = loss_of(model, tokens())
    loss.backward()
    gradients = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    return gradients, sum(kept.values())


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_same_is_learnt_with_less_memory(model_type: str) -> None:
    spec = spec_of(model_type, **NO_DROPOUT.get(model_type, {}))
    model = built(spec)
    before, most = learnt(model)
    assert recompute_activations(model)
    after, least = learnt(model)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert least < 0.5 * most
    sizes = sizes_of(model_type, spec.model.fields, vocabulary=256)
    saved = [
        saved_bytes(spec.model, sizes, spec.training, device="cpu", recomputed=recomputed)
        for recomputed in (False, True)
    ]
    assert saved[1] < saved[0]


def test_a_model_that_cannot_is_left_alone() -> None:
    assert not recompute_activations(torch.nn.Linear(2, 2))
