"""The loss: the library's own, in chunks where the vocabulary is large, and one that falls."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from app.spec.schema import MODEL_TYPES
from app.trainer.model.loss import can_chunk, loss_of
from app.trainer.model.optimizers import optimizer_for
from tests.support.training.models import built, spec_of, tokens


def test_the_loss_is_the_one_of_the_library() -> None:
    model = built(spec_of()).eval()
    batch = tokens()
    theirs = model(input_ids=batch, labels=batch).loss
    assert loss_of(model, batch).item() == pytest.approx(theirs.item(), abs=1e-6)


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


# --- a large vocabulary


class Largest(TorchDispatchMode):
    """Notes the largest tensor of float numbers that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                self.numbers = max(self.numbers, each.numel())
        return made


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.trainer.model.loss.LARGE_VOCABULARY", 256)
    monkeypatch.setattr("app.trainer.model.loss.CHUNK", 8)


def learnt(model: torch.nn.Module, batch: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(0)  # of the dropout
    loss = loss_of(model, batch)
    (2 * loss).backward()
    return loss.item(), [each.grad.clone() for each in model.parameters() if each.grad is not None]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_loss_in_chunks_is_the_same(model_type: str, request: pytest.FixtureRequest) -> None:
    model, batch = built(spec_of(model_type)), tokens()
    usual, gradients = learnt(model, batch)
    request.getfixturevalue("chunked")
    assert can_chunk(model) == (model_type != "gemma2")
    loss, others = learnt(model, batch)
    assert loss == pytest.approx(usual, abs=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("chunked")
def test_logits_of_all_tokens_are_never_held() -> None:
    model, batch = built(spec_of("llama")), tokens(8)
    with Largest() as largest:
        loss_of(model, batch).backward()
    assert largest.numbers < 8 * 16 * 256 / 2


def test_a_small_vocabulary_is_not_chunked() -> None:
    model = built(spec_of("llama"))
    assert not can_chunk(model)
    with Largest() as largest:
        loss_of(model, tokens(8)).backward()
    assert largest.numbers == 8 * 16 * 256
