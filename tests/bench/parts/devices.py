"""The devices: what it costs to watch them."""

import json
import statistics

from measuring import output_of, row, virtual_display

RUNS = 3


def shares() -> dict[str, float]:
    """One run of the window; see ``devices_window.py``."""
    with virtual_display() as environment:
        output = output_of("devices_window.py", environment=environment)
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
