"""The strategies as the benchmark runs them, each with its options."""

from typing import Any

from tests.support.processes.apps import tiny_spec

AVERAGING = "gradient-averaging"

SCHEMES: dict[str, tuple[str, int, dict[str, Any]]] = {
    AVERAGING: (AVERAGING, 1, {}),
    "diloco": ("diloco", 30, {}),
    "diloco-100": ("diloco", 100, {}),
    "sparseloco-10": ("sparseloco", 10, {"keep": 128}),
    "sparseloco": ("sparseloco", 30, {"keep": 64}),
}
"""By the benchmark's name: the strategy, optimizer steps between two rounds, and options."""


def training_of(scheme: str, *, peers: int, local_batch: int, **changes: Any) -> dict[str, Any]:
    """The ``training_params`` of a scheme. local_batch: samples of one machine in a step."""
    strategy, steps, options = SCHEMES[scheme]
    made = {
        "strategy": strategy,
        "target_batch_size": peers * local_batch * steps,
        "evaluation": {"every_epochs": 0},
    }
    if strategy != AVERAGING:
        made[strategy] = options | {"local_batch_size": local_batch}
    return made | changes


def small_spec(run_id: str, scheme: str, *, peers: int, **averaging: float) -> dict[str, Any]:
    """A spec of a small model, whose tensors go uncompressed. averaging: its seconds."""
    params = training_of(
        scheme,
        peers=peers,
        local_batch=48,
        micro_batch_size=16,
        sequence_length=32,
        averaging={"compression": "none", **averaging},
    )
    return tiny_spec(run_id=run_id, training_params=params)
