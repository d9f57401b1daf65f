"""What a model writes: each model type, within its context, the same each time."""

import pytest
import torch

from app.spec.schema import MODEL_TYPES
from app.trainer.data.tokenizer import ByteTokens
from app.trainer.evaluation.generation import MOST_TOKENS, SampleWriter, generated
from tests.support.training.models import built, spec_of

PROMPT = tuple(b"The quick")


def writer(*prompts: str, most_context: int = 300) -> SampleWriter:
    return SampleWriter(
        [(prompt, tuple(prompt.encode())) for prompt in prompts],
        tokenizer=ByteTokens(),
        most_context=most_context,
        stopping=lambda: False,
    )


def tokens_after(
    model: torch.nn.Module, tokens: tuple[int, ...], *, most_context: int = 24
) -> list[int]:
    return list(
        generated(
            model,
            tokens,
            vocabulary_size=256,
            most_context=most_context,
            temperature=1e-6,  # the most probable one
            generator=torch.Generator().manual_seed(0),
        )
    )


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_token_follows_from_all_before_it(model_type: str) -> None:
    model = built(spec_of(model_type)).eval()
    found = tokens_after(model, PROMPT)
    assert len(found) == 24 - len(PROMPT)
    sequence = [*PROMPT, *found]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([sequence[:-1]]), use_cache=False).logits[0]
    assert logits.argmax(-1)[len(PROMPT) - 1 :].tolist() == found


def test_a_prompt_that_fills_the_context_is_cut() -> None:
    model = built(spec_of()).eval()
    assert len(tokens_after(model, PROMPT * 9, most_context=16)) == 1


def test_figures_that_are_not_finite_end_it() -> None:
    model = built(spec_of()).eval()
    torch.nn.init.constant_(model.get_parameter("transformer.wte.weight"), float("nan"))
    assert tokens_after(model, PROMPT) == []


def test_samples_are_the_same_each_time() -> None:
    model = built(spec_of(n_positions=300)).eval()
    first, second = (list(writer("The", "def ").of(model, seconds=600.0)) for _ in range(2))
    assert first == second
    assert [prompt for prompt, _text in first] == ["The", "def "]
    assert all(0 < len(text) <= MOST_TOKENS for _prompt, text in first)


def test_a_sample_ends_with_its_time() -> None:
    model = built(spec_of()).eval()
    ((_prompt, text),) = writer("The").of(model, seconds=0.0)
    assert len(text) <= 1


def test_a_sample_ends_where_the_text_does() -> None:
    model = built(spec_of()).eval()
    torch.nn.init.zeros_(model.get_parameter("transformer.wte.weight"))
    model.get_parameter("transformer.wte.weight").data[0] = 100.0
    model.get_parameter("transformer.ln_f.bias").data[:] = 1.0
    ((_prompt, text),) = writer("The").of(model, seconds=600.0)
    assert text == ""
