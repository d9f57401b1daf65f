"""How long a round may take follows from the model's bytes."""

from typing import Any

import pytest

from app.spec import schema
from app.spec.costs.rounds import (
    LEAST_SECONDS,
    SLOWEST_LINE,
    chunk_seconds,
    round_bytes,
    round_seconds,
    slowest_line,
)
from app.spec.schema import SwarmSpec
from tests.support.processes.apps import tiny_spec, training


def spec_with(**averaging: Any) -> SwarmSpec:
    return schema.parse(tiny_spec(training_params=training(averaging=averaging)))


@pytest.mark.parametrize("parameters", [31_700_000, 124_000_000, 1_000_000_000])
@pytest.mark.parametrize("compression", ["none", "float16"])
def test_slowest_line_carries_every_model_in_time(parameters: int, compression: str) -> None:
    spec = spec_with(compression=compression)
    needed = round_bytes(spec, parameters=parameters) / SLOWEST_LINE
    assert round_seconds(spec, parameters=parameters) > needed
    assert slowest_line(spec, parameters=parameters) < SLOWEST_LINE


def test_a_small_model_waits_no_longer_than_before() -> None:
    assert round_seconds(spec_with(), parameters=100_000) == LEAST_SECONDS


def test_a_time_in_the_spec_counts() -> None:
    spec = spec_with(timeout_seconds=60.0)
    assert round_seconds(spec, parameters=31_700_000) == 60.0
    # 126.8 MB each way in 45 s
    assert slowest_line(spec, parameters=31_700_000) == pytest.approx(2.818e6, rel=1e-3)


@pytest.mark.parametrize(
    ("averaging", "seconds"),
    [
        ({"matchmaking_seconds": 2.0, "timeout_seconds": 8.0}, 8 / 3),
        ({"matchmaking_seconds": 2.0}, 20.0),
        ({"matchmaking_seconds": 60.0}, 60.0),
    ],
)
def test_a_silent_member_is_left_out_before_the_round_ends(
    averaging: dict[str, float], seconds: float
) -> None:
    spec = spec_with(**averaging)
    assert chunk_seconds(spec, parameters=1000) == pytest.approx(seconds)
