"""Contributions and counters for tests."""

from typing import Any

from app.contributions.accounting import Contribution

NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC


def contribution(number: int = 1, **changes: Any) -> Contribution:
    """A plausible minute of training; ``number`` makes it another one, a minute later."""
    fields: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "run_id": "docs",
        "session_id": 7,
        "training_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "participant": "QmNb",
        "started_at": NOON + 60.0 * number,
        "ended_at": NOON + 60.0 * number + 60.0,
        "compute_time": 41.125,
        "gradient_quality": 98.75,
        "data_transmitted": 1536.25,
        "uptime_ratio": 96.5,
        "samples_computed": 800,
        "samples": 790,
        "swarm_samples": 7900,
        "tokens": 101_120,
        "epochs": 2,
        "bytes_sent": 1_536_250,
        "bytes_received": 1_600_000,
        "energy": 2412.5,
    }
    return Contribution(**fields | changes)
