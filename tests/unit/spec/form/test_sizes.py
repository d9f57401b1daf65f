"""Sizes to choose from: each is right, and takes longer than the smaller one."""

import pytest

from app.spec.estimate import estimate
from app.spec.families import FAMILIES
from app.spec.form.names import DEFAULTS, Values
from app.spec.form.sizes import (
    MODEL_SIZES,
    TOKENS_A_PARAMETER,
    resized,
    size_of,
    spec_of_size,
    training_seconds,
)
from app.spec.line import GPU_SPEED, WORK, SwarmOnLines
from app.spec.schema import SwarmSpec

BEGUN: Values = {**DEFAULTS, "run_id": "run"}


def swarm(spec: SwarmSpec, *, peers: int = 1) -> SwarmOnLines:
    count = estimate(spec, device="gpu").parameters
    return SwarmOnLines(parameters=count, peers=peers, line=1e9, speed=GPU_SPEED)


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_size_suits_each_type_of_model(kind: str) -> None:
    values = {**BEGUN, "model_config.model_type": kind}
    assert all(spec_of_size(values, size).model.model_type == kind for size in MODEL_SIZES)


def test_a_size_is_found_again() -> None:
    assert size_of(BEGUN) == "small"  # a form begins with it
    assert all(size_of({**BEGUN, **values}) == size for size, values in MODEL_SIZES.items())
    assert size_of({**BEGUN, "model_config.layers": "7"}) == ""
    assert size_of({**BEGUN, "pretrained.source": "hub"}) == ""


def test_small_is_all_that_a_form_begins_with() -> None:
    assert {**DEFAULTS, **MODEL_SIZES["small"]} == DEFAULTS


def test_what_is_counted_in_epochs_keeps_its_samples() -> None:
    values = {**BEGUN, "training_params.stop.epochs": "1000"}
    first = resized(values, "gpt2")
    assert first["training_params.stop.epochs"] == "2000"  # of 512 samples instead of 1,024
    assert first["training_params.schedule.warmup_epochs"] == "40"
    assert "training_params.schedule.total_epochs" not in first
    again = resized({**values, **first}, "small")
    assert again["training_params.stop.epochs"] == "1000"
    for wrong in ("many", "9" * 5000, "-3", ""):
        values["training_params.stop.epochs"] = wrong
        assert "training_params.stop.epochs" not in resized(values, "tiny")


def test_each_is_larger_and_takes_longer_than_the_one_before() -> None:
    specs = [spec_of_size(BEGUN, size) for size in MODEL_SIZES]
    counts = [estimate(spec, device="gpu").parameters for spec in specs]
    times = [training_seconds(spec, swarm(spec)) for spec in specs]
    assert counts == sorted(counts)
    assert times == sorted(times)


def test_time_is_what_the_device_needs_for_the_tokens() -> None:
    spec = spec_of_size(BEGUN, "gpt2")
    count = swarm(spec).parameters
    computing = WORK * count * TOKENS_A_PARAMETER * count / GPU_SPEED
    assert training_seconds(spec, swarm(spec)) == pytest.approx(computing, rel=0.01)


def test_a_form_that_is_not_complete_yet_has_sizes_all_the_same() -> None:
    values = {**BEGUN, "dataset_info.source": "hub", "title": "x" * 999}
    assert spec_of_size(values, "tiny").data.source == "builtin"
