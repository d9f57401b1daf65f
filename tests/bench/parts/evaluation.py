"""What evaluations and samples cost the trainer."""

import json
import statistics
import subprocess
import sys

from measuring import HERE, row


def evaluation() -> None:
    """Samples per second with and without, side by side; see ``evaluating.py``."""
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, str(HERE / "evaluating.py")],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ).stdout
        )
        for _ in range(3)
    ]
    ratio = statistics.median(run["by_cpu_time"] for run in runs)
    number = sum(run["evaluations"] for run in runs)
    row(
        "the trainer's speed with evaluations and samples",
        f"{ratio:.3f} × without",
        f"by CPU time, {number} evaluations in 3 runs (≥ 0.97)",
    )
