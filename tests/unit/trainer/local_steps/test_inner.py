"""Micro-batches of any size make the step that their samples in one batch would make."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from app.trainer.local_steps.inner import InnerSteps


class Line:
    """A line through points, fitted by plain SGD."""

    def __init__(self, *, batch_size: int, max_norm: float = 1e6) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.SGD([self.weight], lr=0.1)
        self.inner = InnerSteps(
            [self.weight],
            optimizer=optimizer,
            schedule=None,
            batch_size=batch_size,
            max_norm=max_norm,
            needs_scaler=False,
        )

    def learn(self, points: torch.Tensor) -> int:
        loss = (points @ self.weight - 1.0).square().mean()
        self.inner.backward(loss, len(points))
        return self.inner.count(len(points))


POINTS = torch.arange(24.0).reshape(8, 3) / 24


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (1, 5, 2), (7, 1)])
def test_step_is_that_of_the_whole_batch(sizes: tuple[int, ...]) -> None:
    whole, parts = Line(batch_size=8), Line(batch_size=8)
    whole.learn(POINTS)
    for part in POINTS.split(sizes):
        assert parts.learn(part) == 0
    torch.testing.assert_close(parts.weight, whole.weight)
    assert bool(whole.weight.any())


def test_larger_batch_than_asked_for_is_a_mean_too() -> None:
    whole, early = Line(batch_size=8), Line(batch_size=5)
    whole.learn(POINTS)
    early.learn(POINTS[:4])
    early.learn(POINTS[4:])
    torch.testing.assert_close(early.weight, whole.weight)


def test_gradient_is_cut_to_its_norm() -> None:
    line = Line(batch_size=8, max_norm=0.01)
    line.learn(POINTS)
    assert float(line.weight.detach().norm()) == pytest.approx(0.1 * 0.01)


def test_gradient_that_is_not_finite_moves_nothing_and_its_samples_are_told() -> None:
    line = Line(batch_size=8)
    assert line.learn(POINTS * torch.inf) == 8
    assert not bool(line.weight.any())
    assert line.learn(POINTS) == 0
    assert bool(torch.isfinite(line.weight).all())


def test_given_up_gradient_is_in_no_step() -> None:
    line, other = Line(batch_size=8), Line(batch_size=8)
    line.learn(POINTS[:3])
    assert line.inner.forget() == 3
    line.learn(POINTS)
    other.learn(POINTS)
    assert torch.equal(line.weight, other.weight)


# --- a GPU, whose numbers are known late


class FusedLine(Line):
    """Fitted by an optimizer that looks for itself whether the gradient is finite."""

    def __init__(self) -> None:
        super().__init__(batch_size=8)
        optimizer = torch.optim.AdamW([self.weight], lr=0.1, fused=True)
        self.inner = InnerSteps(
            [self.weight],
            optimizer=optimizer,
            schedule=None,
            batch_size=8,
            max_norm=1e6,
            needs_scaler=False,
        )


@pytest.mark.parametrize("make", [FusedLine, lambda: Line(batch_size=8)])
def test_on_a_gpu_samples_are_lost_later_and_nothing_moves(
    make: Callable[[], Line], late_device: list[Any]
) -> None:
    line = make()
    assert line.learn(POINTS * torch.inf) == 0
    assert not bool(line.weight.any())
    assert line.inner.taken == 1  # until it is known
    assert [line.learn(POINTS) for _step in range(3)] == [0, 8, 0]
    assert line.inner.taken == 3
    assert bool(line.weight.isfinite().all())
    assert len(late_device) == 2


def test_on_a_gpu_the_steps_are_the_same(late_device: list[Any]) -> None:
    late = FusedLine()
    for _step in range(4):
        late.learn(POINTS)
    usual = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([usual], lr=0.1)
    for _step in range(4):
        optimizer.zero_grad()
        (POINTS @ usual - 1.0).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(late.weight, usual)
