"""Bytes, seconds and the part of the time computing, from a spec and a line."""

from typing import Any

import pytest

from app.spec import schema
from app.spec.costs.rounds import round_bytes
from app.spec.line import (
    CPU_SPEED,
    DENSE_STEPS,
    ENOUGH,
    GPU_SPEED,
    TURNS,
    LineForecast,
    Recommendation,
    SwarmOnLines,
    forecast,
    recommend,
    round_upload,
    update_bytes,
)
from app.spec.schema import SwarmSpec
from tests.support.processes.apps import tiny_spec, training

SMALL, LARGE, HUGE = 11_000_000, 124_000_000, 1_000_000_000
HOME, LAN = 20 * 125_000.0, 10_000 * 125_000.0


def spec_of(strategy: str = "gradient-averaging", **options: Any) -> SwarmSpec:
    values: dict[str, Any] = {
        "target_batch_size": 512,
        "sequence_length": 1024,
        "averaging": {"compression": "float16"},
    }
    return schema.parse(tiny_spec(training_params=training(strategy=strategy, **values | options)))


def machines(
    parameters: int, peers: int, line: float = HOME, speed: float = GPU_SPEED
) -> SwarmOnLines:
    return SwarmOnLines(parameters=parameters, peers=peers, line=line, speed=speed)


def at_home(spec: SwarmSpec, parameters: int = LARGE, peers: int = 8) -> LineForecast:
    return forecast(spec, machines(parameters, peers))


def asked(
    spec: SwarmSpec, *, parameters: int = LARGE, peers: int = 8, line: float = HOME
) -> Recommendation:
    return recommend(spec, machines(parameters, peers, line))


# --- bytes


def test_gradients_and_weights_travel_in_a_butterfly() -> None:
    found = round_upload(spec_of().training, parameters=LARGE, peers=8)
    # 434 MB for the gradient, as much for the weights
    assert found.usual == 2 * 434_000_000
    # all others can't be called: we average everything
    assert found.most == 2 * 7 * 2 * LARGE


def test_each_blob_has_to_reach_each_other_peer() -> None:
    training_params = spec_of("diloco").training
    update = update_bytes(training_params, parameters=LARGE)
    assert update == pytest.approx(3.7 / 8 * LARGE)
    found = round_upload(training_params, parameters=LARGE, peers=8)
    assert (found.usual, found.least, found.most) == (7 * update, update, 49 * update)


@pytest.mark.parametrize("strategy", ["gradient-averaging", "diloco", "sparseloco"])
def test_nobody_sends_anything_alone(strategy: str) -> None:
    found = round_upload(spec_of(strategy).training, parameters=LARGE, peers=1)
    assert (found.usual, found.least, found.most) == (0, 0, 0)
    assert at_home(spec_of(strategy), peers=1).an_hour == 0


@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 8}, {"bits": 16}])
def test_a_time_out_counts_on_more_bytes_than_are_expected(options: dict[str, int]) -> None:
    spec = spec_of("diloco", diloco=options)
    assert 2 * update_bytes(spec.training, parameters=LARGE) < round_bytes(spec, parameters=LARGE)


# --- time


def test_gradient_averaging_hardly_computes_at_home() -> None:
    found = at_home(spec_of())
    assert found.computing < 0.1
    assert found.round_seconds == pytest.approx(434e6 / HOME, rel=1e-3)
    assert found.own_steps is None


@pytest.mark.parametrize("strategy", ["diloco", "sparseloco"])
def test_steps_of_ones_own_go_on_beside_an_exchange(strategy: str) -> None:
    found = at_home(spec_of(strategy))
    assert found.computing > 0.9
    assert found.epoch_seconds >= found.round_seconds


def test_a_slow_line_means_more_steps_between_exchanges() -> None:
    spec = spec_of("diloco")
    slow = at_home(spec)
    fast = forecast(spec, machines(LARGE, 8, LAN))
    assert slow.own_steps is not None
    assert fast.own_steps is not None
    assert slow.own_steps > fast.own_steps > 0


def test_no_line_sends_more_in_an_hour_than_it_carries() -> None:
    for strategy in ("gradient-averaging", "diloco", "sparseloco"):
        for peers in (2, 3, 8, 64):
            assert at_home(spec_of(strategy), HUGE, peers).an_hour <= 3600 * HOME


def test_an_exchange_that_ends_too_late_is_known() -> None:
    assert at_home(spec_of("diloco"), peers=4).ends_in_time
    assert not at_home(spec_of("diloco"), peers=32).ends_in_time
    assert at_home(spec_of("sparseloco"), peers=32).ends_in_time


# --- which strategy


def test_a_fast_line_averages_each_gradient() -> None:
    found = asked(spec_of("diloco", diloco={"local_batch_size": 64}), line=LAN)
    assert found.spec.training.strategy == "gradient-averaging"
    assert found.spec.training.target_batch_size == 8 * 64
    assert found.forecast.computing >= ENOUGH


def test_a_line_of_a_home_takes_steps_of_its_own() -> None:
    found = asked(spec_of(target_batch_size=2048), peers=4)
    training_params = found.spec.training
    assert training_params.diloco is not None
    assert training_params.diloco.local_batch_size == 512
    steps = training_params.target_batch_size / 2048
    assert DENSE_STEPS[0] <= steps <= DENSE_STEPS[1]
    assert found.forecast.computing > 0.9
    assert "compute only" in found.why


def test_a_micro_batch_larger_than_the_new_batch_is_chosen_anew() -> None:
    own = spec_of("diloco", diloco={"local_batch_size": 8}, micro_batch_size=128)
    found = asked(own, line=LAN)
    assert found.spec.training.strategy == "gradient-averaging"
    assert found.spec.training.micro_batch_size == "auto"


def test_a_larger_model_sends_only_the_largest_changes() -> None:
    found = asked(spec_of(), parameters=HUGE)
    assert found.spec.training.sparseloco is not None
    assert found.spec.training.sparseloco.keep == 64
    assert found.forecast.ends_in_time


@pytest.mark.parametrize(
    ("epochs", "keep", "steps"), [(10_000, 64, 30), (3_000, 128, 30), (960, 128, 15)]
)
def test_a_short_run_keeps_more_or_exchanges_more_often(epochs: int, keep: int, steps: int) -> None:
    spec = spec_of(stop={"epochs": epochs}, target_batch_size=32_768, sequence_length=128)
    training_params = asked(spec, parameters=HUGE, peers=16).spec.training
    assert training_params.sparseloco is not None
    assert training_params.sparseloco.keep == keep
    assert training_params.target_batch_size == steps * 32_768
    assert training_params.stop.epochs == round(epochs / steps)
    assert training_params.stop.epochs * keep / 4096 >= 0.99 * TURNS


def test_what_is_counted_in_epochs_keeps_its_samples() -> None:
    schedule = {"name": "cosine", "warmup_epochs": 300, "total_epochs": 30_000}
    found = asked(spec_of(schedule=schedule, stop={"epochs": 30_000})).spec.training
    steps = found.target_batch_size / 512
    assert found.schedule.warmup_epochs == pytest.approx(300 / steps, abs=1)
    assert found.schedule.total_epochs == pytest.approx(30_000 / steps, abs=1)
    back = asked(asked(spec_of(stop={"epochs": 30_000})).spec, line=LAN).spec.training
    assert back.target_batch_size == 512
    assert back.stop.epochs == pytest.approx(30_000, rel=0.01)


def test_the_gradients_norm_goes_along() -> None:
    there = asked(spec_of(max_grad_norm=0.5)).spec
    assert there.training.local_steps is not None
    assert there.training.local_steps.max_grad_norm == 0.5
    assert asked(there, line=LAN).spec.training.max_grad_norm == 0.5


@pytest.mark.parametrize("parameters", [1_000, SMALL, LARGE, HUGE, 70 * HUGE])
@pytest.mark.parametrize("peers", [1, 2, 1000])
@pytest.mark.parametrize("line", [1.0, HOME, LAN])
def test_every_case_has_an_answer(parameters: int, peers: int, line: float) -> None:
    spec = spec_of(stop={"minutes": 0.01})
    found = recommend(spec, machines(parameters, peers, line, CPU_SPEED))
    assert found.why
    assert 0 <= found.forecast.computing <= 1
    schema.parse(found.spec.model_dump(mode="json", by_alias=True))
