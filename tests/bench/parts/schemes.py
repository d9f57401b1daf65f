"""The strategies as the benchmark runs them, each with its options."""

from typing import Any

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
