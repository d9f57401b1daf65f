"""Twenty machines of a lab, commanded at once: from a program, and from the window."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import HERE, ROOT, output_of, row, running, virtual_display

MACHINES = 20


def lab() -> None:
    """The checks of ``lab.py``, then the window of the admin."""
    checks = subprocess.run(
        [sys.executable, str(HERE / "lab.py"), str(MACHINES)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    for line in checks.splitlines():
        verdict, _, what = line.partition("  ")
        if verdict in ("ok", "FAIL"):
            row(f"{MACHINES} machines and an admin", verdict, what.strip())
    with tempfile.TemporaryDirectory(prefix="cotrain-lab-") as name:
        _command_from_the_window(Path(name))


def _command_from_the_window(root: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support.processes.apps import tiny_spec

    file = root / "tiny.cotrain"
    with running("lab_machines.py", str(root), str(MACHINES)) as printed:
        entries = json.loads(printed.readline())
        file.write_text(json.dumps(tiny_spec(initial_peers=entries)))
        with virtual_display() as environment:
            arguments = ("lab_window.py", str(file), str(root / "admin"), str(MACHINES))
            output = output_of(*arguments, environment=environment, quiet=False)
    for each in json.loads(output.splitlines()[-1]):
        row(
            f"{each['done']} of {MACHINES} machines told from the window, within",
            f"{each['seconds']:.2f} s",
            f"longest gap {each['loop_gap']:.0f} ms, {each['loop_busy']:.0f} ms of it computing",
        )
