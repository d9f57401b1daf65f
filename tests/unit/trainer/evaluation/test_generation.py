"""What a model writes after the prompts of a run."""

import pytest
import torch

from app.trainer.data.tokenizer import ByteTokens
from app.trainer.evaluation.generation import MOST_TOKENS, SampleWriter
from tests.support.training.models import built, spec_of


def writer(*prompts: str, most_context: int = 300) -> SampleWriter:
    return SampleWriter(
        [(prompt, tuple(prompt.encode())) for prompt in prompts],
        tokenizer=ByteTokens(),
        most_context=most_context,
        stopping=lambda: False,
    )


@pytest.mark.slow
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
