"""The loss on held-out text is that of every token, once."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from app.trainer.data.held_out import HeldOut
from app.trainer.data.tokenizer import ByteTokens
from app.trainer.evaluation.measure import HeldOutMeasure
from app.trainer.model.loss import mean_loss
from tests.support.training.models import built, spec_of

TOKENS = np.frombuffer(b"the quick brown fox jumps over the lazy dog. " * 20, dtype=np.uint8)


def measure(
    tokens: np.ndarray = TOKENS, *, seconds: float = 60.0, stopping: bool = False
) -> HeldOutMeasure:
    return HeldOutMeasure(
        HeldOut(tokens=tokens, tokenizer=ByteTokens()),
        sequence_length=16,
        seconds=seconds,
        stopping=lambda: stopping,
    )


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return built(spec_of()).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_it_is_the_mean_over_all_windows(model: torch.nn.Module, batch_size: int) -> None:
    found = measure().of(model, batch_size=batch_size)
    windows = (len(TOKENS) - 1) // 16
    rows = [TOKENS[16 * row : 16 * row + 17] for row in range(windows)]
    expected = mean_loss(
        model, torch.from_numpy(np.stack(rows).astype(np.int64)), context=lambda _: nullcontext()
    )
    assert found is not None
    assert found.tokens == 16 * windows
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(expected / math.log(2), rel=1e-5)


def test_the_same_text_is_measured_each_time_as_much_as_the_budget_allows(
    model: torch.nn.Module,
) -> None:
    short = measure(seconds=0.0)
    first, second = (short.of(model, batch_size=4) for _ in range(2))
    assert first is not None
    assert first.tokens == 4 * 16
    assert second is not None
    assert second.tokens == 2 * 16  # it took longer than it may


def test_text_shorter_than_a_sample_is_one_window(model: torch.nn.Module) -> None:
    found = measure(TOKENS[:5]).of(model, batch_size=4)
    assert found is not None
    assert found.tokens == 4


def test_it_gives_up_when_told(model: torch.nn.Module) -> None:
    assert measure(stopping=True).of(model, batch_size=4) is None
