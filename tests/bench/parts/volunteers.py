"""Large swarms, by the arithmetic that previews use."""

import sys

from app.spec import schema
from app.spec.line import LineForecast, SwarmOnLines, forecast
from tests.bench.parts.schemes import SCHEMES, training_of
from tests.support.processes.apps import tiny_spec

HEAD = (
    "| parameters | volunteers | scheme | every | a round takes | a peer sends an hour |"
    " computing | ends in time |\n|---|---|---|---|---|---|---|---|\n"
)

SIZES = {"124 M": 124_000_000, "1 B": 1_000_000_000}
VOLUNTEERS = (10, 30, 100, 1000)
LINE = 20e6 / 8
"""Bytes/s up."""

SPEED = 2.5e13
"""FLOP/s of a consumer GPU."""

LOCAL_BATCH, TOKENS = 64, 1024
"""Samples of a step on one machine, and tokens of a sample."""


def forecasts() -> None:
    """A row for each."""
    for size, parameters in SIZES.items():
        for peers in VOLUNTEERS:
            for scheme in SCHEMES:
                found = _found(scheme, parameters, peers)
                sys.stdout.write(f"| {size} | {peers} | {scheme} | {_cells(found)} |\n")


def _found(scheme: str, parameters: int, peers: int) -> LineForecast:
    params = training_of(
        scheme,
        peers=peers,
        local_batch=LOCAL_BATCH,
        sequence_length=TOKENS,
        averaging={"compression": "float16"},
    )
    spec = schema.parse(tiny_spec(local=False, training_params=params))
    swarm = SwarmOnLines(parameters=parameters, peers=peers, line=LINE, speed=SPEED)
    return forecast(spec, swarm)


def _cells(found: LineForecast) -> str:
    cells = (
        f"{found.epoch_seconds:,.0f} s",
        f"{found.round_seconds:,.0f} s",
        f"{found.an_hour / 1e9:.2f} GB",
        f"{found.computing:.1%}",
        "yes" if found.ends_in_time else "no",
    )
    return " | ".join(cells)
