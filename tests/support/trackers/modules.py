"""Small trackers to be installed in a Python: the interface that Trackio and W&B have in common."""

import json
from pathlib import Path
from typing import Any

WRITES_DOWN = """
import json, os, sys
__version__ = "1.2"
print("noise on stdout, as trackers make it")
def _note(**call):
    with open("calls.jsonl", "a") as file:
        file.write(json.dumps(call) + "\\n")
def init(project, name=None, group=None, config=None):
    _note(init=project, name=name, group=group, config=config)
def log(metrics, step=None):
    print(metrics)
    _note(log=metrics, step=step)
def finish():
    _note(finish=True)
"""


def install(folder: Path, module: str, source: str = WRITES_DOWN) -> None:
    """Put a module into a folder, which the caller names in PYTHONPATH."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source)


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the tracker that worked in a folder was called with."""
    file = folder / "calls.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
