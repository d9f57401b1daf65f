"""With how many samples steps are fastest, and whether compiled."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch

from app.common.errors import DeviceError
from app.trainer.model.loss import loss_of
from app.trainer.model.precision import FP32
from app.trainer.step import trying
from app.trainer.step.trying import RandomSteps, compiling_pays, fastest
from tests.support.training.models import CPU, built, spec_of


def steps(sequence_length: int = 16) -> RandomSteps:
    return RandomSteps(device=CPU, precision=FP32, vocabulary=256, sequence_length=sequence_length)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return built(spec_of(n_layer=1, n_head=2, n_embd=16, n_positions=16))


# --- the search


def device_with(
    rates: Sequence[float], *, room: int = 2**20
) -> tuple[Callable[[int], float], list[int]]:
    """A device with so many samples a second for 1, 2, 4… of them; and what was tried on it."""
    tried: list[int] = []

    def seconds_of(samples: int) -> float:
        tried.append(samples)
        if samples > room:
            raise torch.OutOfMemoryError("out of memory")
        return samples / rates[samples.bit_length() - 1]

    return seconds_of, tried


def test_the_largest_that_fits_where_larger_is_faster() -> None:
    seconds_of, tried = device_with([10, 20, 40, 80, 160], room=8)
    assert fastest(seconds_of, most=64) == 8
    assert tried == [1, 2, 4, 8, 16]


def test_no_more_than_the_spec_allows() -> None:
    seconds_of, tried = device_with([10, 20, 40, 80])
    assert fastest(seconds_of, most=4) == 4
    assert tried == [1, 2, 4]


def test_larger_is_not_always_faster() -> None:
    seconds_of, tried = device_with([10, 30, 28, 29, 100])
    assert fastest(seconds_of, most=64) == 2
    assert tried == [1, 2, 4, 8]


def test_one_slow_size_may_be_a_busy_moment() -> None:
    seconds_of, _ = device_with([10, 30, 28, 50])
    assert fastest(seconds_of, most=8) == 8


def test_search_ends_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(trying.time, "monotonic", lambda: now[0])

    def seconds_of(samples: int) -> float:
        now[0] += samples
        return 1.0

    assert fastest(seconds_of, most=64) == 4  # 8 would end after 15 s
    assert now[0] <= trying.SEARCH_SECONDS


def test_not_even_one_sample_fits() -> None:
    seconds_of, _ = device_with([10], room=0)
    with pytest.raises(DeviceError, match="even with one sample"):
        fastest(seconds_of, most=64)


# --- steps


def test_steps_take_time_and_leave_the_weights_alone(model: torch.nn.Module) -> None:
    before = [parameter.clone() for parameter in model.parameters()]
    assert steps().seconds(partial(loss_of, model), 4) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_bytes_a_sample_are_the_activations(model: torch.nn.Module) -> None:
    weights = sum(parameter.nbytes for parameter in model.parameters())
    loss = partial(loss_of, model)
    short, long = (steps(length).bytes_a_sample(loss) for length in (8, 16))
    assert 16 * 16 * 4 < short < 2 * weights  # more than the embeddings
    assert 1.8 < long / short < 2.2


@pytest.mark.parametrize(("seconds", "pays"), [(0.5, True), (0.99, False), (1.5, False)])
def test_compiling_pays_where_it_is_faster(
    compiler: Callable[[float], None], seconds: float, pays: bool, model: torch.nn.Module
) -> None:
    compiler(seconds)
    assert compiling_pays(steps(), partial(loss_of, model), 4) is pays
