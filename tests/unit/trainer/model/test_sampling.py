"""Tokens are drawn from what the model says, with keys and values kept or not."""

from itertools import islice

import pytest
import torch

from app.spec.schema import MODEL_TYPES
from app.trainer.model.sampling import _drawn, continuation
from tests.support.training.models import built, spec_of

PROMPT = [1, 2, 3, 4, 5]


def written(
    model: torch.nn.Module, count: int, *, prompt: list[int] = PROMPT, window: int = 16
) -> list[int]:
    tokens = continuation(
        model,
        prompt,
        window=window,
        vocabulary_size=256,
        temperature=0,
        chance=torch.Generator(),
    )
    return list(islice(tokens, count))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_token_is_what_the_model_says_after_all_before_it(model_type: str) -> None:
    model = built(spec_of(model_type)).eval()
    seen = list(PROMPT)
    for token in written(model, 8):
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([seen])).logits[0, -1]
        assert scores[token] >= scores.max() - 1e-4
        seen.append(token)


@pytest.mark.parametrize("window", [1, 2, 7, 16])
@pytest.mark.parametrize("prompt", [[1], list(range(40))])
def test_no_more_is_seen_than_the_window(window: int, prompt: list[int]) -> None:
    """gpt2 has 16 positions here, and fails beyond."""
    model = built(spec_of(n_positions=16)).eval()
    assert len(written(model, 50, prompt=prompt, window=window)) == 50


def drawn(scores: torch.Tensor, temperature: float) -> set[int]:
    chance = torch.Generator().manual_seed(0)
    return {_drawn(scores, temperature, chance=chance) for _ in range(200)}


def test_temperature_spreads_the_choice() -> None:
    scores = torch.tensor([1.0, 3.0, 2.0])
    assert drawn(scores, 0) == {1}
    assert drawn(scores, 0.01) == {1}
    assert drawn(scores, 2) == {0, 1, 2}


def test_figures_that_are_not_finite_end_it() -> None:
    model = built(spec_of()).eval()
    torch.nn.init.constant_(model.get_parameter("transformer.wte.weight"), float("nan"))
    assert written(model, 8) == []


def test_tokens_that_the_tokenizer_lacks_are_never_written() -> None:
    model = built(spec_of(vocab_size=300)).eval()
    tokens = continuation(
        model,
        PROMPT,
        window=16,
        vocabulary_size=3,
        temperature=2.0,
        chance=torch.Generator(),
    )
    assert set(islice(tokens, 30)) <= {0, 1, 2}
