"""The window: how soon it is painted, and how long its loop stalls."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, longest_gap, output_of, row, stop, virtual_display, wait_for_record


def seconds_to_paint_bare(environment: dict[str, str], *modules: str) -> float:
    """From starting the interpreter to the first paint of a window with one plot. modules: a file
    that names modules to import first."""
    started = time.monotonic()
    output = output_of("bare_window.py", *modules, environment=environment)
    return float(output) - started


def seconds_to_paint_app(environment: dict[str, str]) -> float:
    """From starting the interpreter to the first paint of the app's window."""
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "--data-dir", name],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        painted = wait_for_record(folder, "window painted")["monotonic"]
        wait_for_record(folder, "hivemind is loaded")
        stop(app)
        return float(painted) - started


def modules_of_the_app(environment: dict[str, str]) -> str:
    """As ``imported.py`` prints them."""
    with tempfile.TemporaryDirectory() as name:
        return output_of("imported.py", name, environment=environment)


def startup() -> None:
    """Window painted: the app against a bare window, and one that has imported the same."""
    with virtual_display() as environment, tempfile.NamedTemporaryFile("w") as file:
        file.write(modules_of_the_app(environment))
        file.flush()
        seconds_to_paint_bare(environment), seconds_to_paint_app(environment)  # warm the disk
        runs = [
            (
                seconds_to_paint_bare(environment),
                seconds_to_paint_bare(environment, file.name),
                seconds_to_paint_app(environment),
            )
            for _ in range(7)
        ]
    bare, same, app = (statistics.median(column) for column in zip(*runs, strict=True))
    to_bare, to_same = (statistics.median(run[2] / run[place] for run in runs) for place in (0, 1))
    row("window painted, bare PySide6 and pyqtgraph", f"{bare:.2f} s")
    row("window painted, the same with the app's modules", f"{same:.2f} s")
    row(
        "window painted, this app",
        f"{app:.2f} s",
        f"{to_same:.2f} × with its modules (≤ 1.2), {to_bare:.2f} × bare",
    )


def stalls() -> None:
    """The window's loop while hivemind is imported, while joining, and while training."""
    with virtual_display() as environment, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("--demo", "--train", "--debug", "--data-dir", name)
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        painted = wait_for_record(folder, "window painted")["monotonic"]
        loaded = wait_for_record(folder, "hivemind is loaded")["monotonic"]
        trains = wait_for_record(folder, "training", after=loaded)["monotonic"]
        time.sleep(61)
        stop(app)
        # A record covers the second before it.
        row("longest gap, importing hivemind", f"{longest_gap(folder, painted, loaded + 1):.0f} ms")
        row(
            "longest gap, joining and preparing",
            f"{longest_gap(folder, loaded + 1, trains):.0f} ms",
            "≤ 50 ms",
        )
        row(
            "longest gap, 60 s of demo training",
            f"{longest_gap(folder, trains, trains + 60):.0f} ms",
            "≤ 50 ms",
        )
