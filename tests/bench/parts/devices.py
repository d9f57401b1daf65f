"""The devices: what it costs to watch them."""

import json
import statistics
import subprocess
import sys

from measuring import HERE, row, virtual_display

RUNS = 3


def shares() -> dict[str, float]:
    """One run of the window; see ``devices_window.py``."""
    with virtual_display() as environment:
        output = subprocess.run(
            [sys.executable, str(HERE / "devices_window.py")],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def devices() -> None:
    """Part of a core that watching takes, beyond what the window takes anyway."""
    runs = [shares() for _ in range(RUNS)]
    reading, page = (
        statistics.median(100 * (run[name] - run["idle"]) for run in runs)
        for name in ("reading", "page")
    )
    row("reading the devices once a second", f"{reading:.2f} % of a core", "≤ 0.5 %")
    row("the devices' page, reading and drawing", f"{page:.2f} % of a core")
