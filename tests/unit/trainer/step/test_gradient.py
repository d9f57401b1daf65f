"""A micro-batch's gradient is added, unless its loss is known not to be finite."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from app.trainer.step.gradient import add_gradient
from app.trainer.step.waiting import LateValues

TOKENS = torch.tensor([[1, 2], [3, 4]])


class Weight:
    """A model of one weight; the losses that were added."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.losses = LateValues(torch.device("cpu"))

    def learn(self, factor: float) -> bool:
        return add_gradient(
            TOKENS,
            loss_of=lambda tokens: factor * self.weight * tokens.float().mean(),
            autocast=nullcontext,
            backward=lambda loss, samples: (loss * samples).backward(),
            losses=self.losses,
        )


def test_gradients_add_up() -> None:
    model = Weight()
    assert model.learn(1.0)
    assert model.learn(2.0)
    assert float(model.weight.grad) == 2 * (2.5 + 5.0)  # type: ignore[arg-type]
    assert model.losses.take() == [2.5, 5.0]


def test_a_loss_that_is_not_finite_adds_nothing() -> None:
    model = Weight()
    assert not model.learn(math.nan)
    assert model.weight.grad is None
    assert model.losses.take() == []


@pytest.mark.usefixtures("late_device")
def test_on_a_gpu_nobody_asks_so_early() -> None:
    model: Any = Weight()
    assert model.learn(math.nan)
    model.losses.finish()
    assert math.isnan(*model.losses.take())
