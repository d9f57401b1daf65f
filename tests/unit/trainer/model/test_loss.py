"""The loss: the library's own, and one that falls."""

from typing import Any

import pytest
import torch

from app.spec.schema import MODEL_TYPES
from app.trainer.model.loss import loss_of
from app.trainer.model.optimizers import optimizer_for
from tests.support.training.models import built, spec_of, tokens


def test_the_loss_is_the_one_of_the_library() -> None:
    model = built(spec_of()).eval()
    batch = tokens()
    theirs = model(input_ids=batch, labels=batch).loss
    assert loss_of(model, batch).item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_attention_is_torchs_own_where_the_model_has_it(model_type: str) -> None:
    config: Any = built(spec_of(model_type)).config
    expected = "eager" if model_type in ("gpt_neo", "gemma2") else "sdpa"
    assert config._attn_implementation == expected


def test_a_model_learns_a_pattern() -> None:
    spec = spec_of(training={"optimizer": {"learning_rate": 1e-2}})
    model = built(spec)
    optimizer = optimizer_for(spec, model)(model.parameters())
    batch = torch.arange(17).repeat(4, 1)
    losses = []
    for _ in range(30):
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 5
    assert losses[-1] < 1
