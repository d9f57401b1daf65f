"""What a round believes: everything that honest members send, and no attack."""

import math
from typing import Any

import pytest
import torch

from app.p2p.sightings import PartFault
from app.trainer.averaging.guard import GradientBounds, Part, StateBounds

GRADIENTS = GradientBounds(most_weight=1024.0)
STATE = StateBounds()
SIZE = 20_000


def gradients(count: int, *, noise: float = 3.0, seed: int = 0) -> list[torch.Tensor]:
    """Honest ones: a common direction under noise that is larger than it."""
    draw = torch.Generator().manual_seed(seed)
    direction = torch.randn(SIZE, generator=draw)
    return [direction + noise * torch.randn(SIZE, generator=draw) for _ in range(count)]


def parts(*values: torch.Tensor, weights: Any = None) -> list[Part]:
    weights = weights or [1.0] * len(values)
    return [
        Part(sender=sender, values=each, weight=weight)
        for sender, (each, weight) in enumerate(zip(values, weights, strict=True))
    ]


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


# --- honest members ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("noise", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_honest_gradients_are_averaged_as_they_are(count: int, noise: float, seed: int) -> None:
    values = gradients(count, noise=noise, seed=seed)
    made = GRADIENTS.average(parts(*values), values[0])
    assert made.faults == {}
    assert torch.allclose(made.values, torch.stack(values).mean(dim=0), atol=1e-5)
    assert GRADIENTS.check_average(made.values, values[0], 0.0)[1] is None


def test_weights_count() -> None:
    values = gradients(2)
    made = GRADIENTS.average(parts(*values, weights=[300.0, 100.0]), values[0])
    assert torch.allclose(made.values, 0.75 * values[0] + 0.25 * values[1], atol=1e-5)


def test_slow_member_with_a_noisier_gradient_is_not_punished() -> None:
    large = gradients(3, noise=1.0)
    (small,) = gradients(1, noise=1.0)
    small = small + 4.0 * torch.randn(SIZE, generator=torch.Generator().manual_seed(7))
    made = GRADIENTS.average(parts(*large, small, weights=[64.0, 64.0, 64.0, 1.0]), small)
    assert made.faults == {}


def test_member_with_nothing_to_say_changes_nothing() -> None:
    values = gradients(2)
    nothing = torch.zeros(SIZE)
    made = GRADIENTS.average(parts(*values, nothing, weights=[1.0, 1.0, 0.0]), nothing)
    assert torch.allclose(made.values, (values[0] + values[1]) / 2, atol=1e-5)
    assert made.faults == {}


def test_where_nobody_has_weight_the_average_is_zero() -> None:
    values = gradients(2)
    assert not GRADIENTS.average(parts(*values, weights=[0.0, 0.0]), None).values.any()


def test_parameters_that_missed_some_steps_are_averaged() -> None:
    ours = torch.randn(SIZE)
    theirs = ours + 0.01 * torch.randn(SIZE)
    made = STATE.average(parts(ours, theirs), ours)
    assert made.faults == {}
    assert torch.allclose(made.values, (ours + theirs) / 2, atol=1e-6)
    assert STATE.check_average(made.values, ours, 0.0)[1] is None


def test_bias_that_began_at_zero_is_averaged() -> None:
    ours, theirs = torch.zeros(64), torch.full((64,), 0.01)
    assert STATE.average(parts(ours, theirs), ours).faults == {}


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [GRADIENTS, STATE], ids=["gradients", "state"])
@pytest.mark.parametrize("weight", [math.nan, math.inf, -1.0, 1e30])
def test_weight_that_nobody_can_have_is_a_fault(bounds: Any, weight: float) -> None:
    assert bounds.check(torch.ones(4), weight) is PartFault.WEIGHT


@pytest.mark.parametrize("bounds", [GRADIENTS, STATE], ids=["gradients", "state"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_a_fault(bounds: Any, value: float) -> None:
    bad = torch.ones(SIZE)
    bad[-1] = value
    assert bounds.check(bad, 1.0) is PartFault.NOT_FINITE
    assert bounds.check_average(bad, torch.ones(SIZE), 1.0)[1] is PartFault.NOT_FINITE


@pytest.mark.parametrize("honest", [1, 3])
def test_sign_flip_is_left_out(honest: int) -> None:
    values = gradients(honest, noise=1.0)
    made = GRADIENTS.average(parts(*values, -values[0]), values[0])
    assert made.faults == {honest: PartFault.AGAINST}
    assert torch.allclose(made.values, torch.stack(values).mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("honest", [1, 3])
@pytest.mark.parametrize("times", [1e3, 1e20])
def test_huge_gradient_hardly_moves_the_average(honest: int, times: float) -> None:
    values = gradients(honest)
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(99))
    made = GRADIENTS.average(parts(*values, times * noise), values[0])
    largest = max(float(each.norm()) for each in values)
    assert float(made.values.norm()) <= GRADIENTS.most_times_typical * largest
    if honest == 3:
        assert cosine(made.values, torch.stack(values).mean(dim=0)) > 0.4


def test_copy_counts_once() -> None:
    values = gradients(2)
    made = GRADIENTS.average(parts(*values, values[0].clone(), weights=[1.0, 1.0, 9.0]), values[0])
    assert made.faults == {2: PartFault.COPY}
    assert torch.allclose(made.values, (values[0] + values[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("times", [-1.0, 1e3])
def test_average_that_cannot_be_one_is_a_fault(times: float) -> None:
    (ours,) = gradients(1)
    believed, fault = GRADIENTS.check_average(times * ours, ours, 0.0)
    assert fault is PartFault.AVERAGE
    assert torch.equal(believed, ours)


def test_large_average_is_cut_silently() -> None:
    """Others may have met words that we haven't."""
    (ours,) = gradients(1)
    believed, fault = GRADIENTS.check_average(50.0 * ours, ours, 0.0)
    assert fault is None
    assert float(believed.norm()) == pytest.approx(8.0 * float(ours.norm()), rel=1e-4)


def test_average_of_words_that_we_have_not_met_is_taken() -> None:
    (theirs,) = gradients(1)
    believed, fault = GRADIENTS.check_average(theirs, torch.zeros(SIZE), float(theirs.norm()))
    assert fault is None
    assert torch.equal(believed, theirs)


@pytest.mark.parametrize("change", [lambda x: 0 * x, lambda x: -x, lambda x: 1e3 * x])
def test_parameters_far_from_ours_are_left_out(change: Any) -> None:
    ours = torch.randn(SIZE)
    made = STATE.average(parts(ours, change(ours)), ours)
    assert made.faults == {1: PartFault.FAR}
    assert torch.equal(made.values, ours)
    assert STATE.check_average(change(ours), ours, 1.0)[1] is PartFault.AVERAGE
