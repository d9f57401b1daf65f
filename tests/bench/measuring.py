"""What every part of the benchmark needs: a display, an app's log, rows of the table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOG = Path("logs") / "contributor.log"


@contextmanager
def virtual_display(screen: str = "1280x800") -> Iterator[dict[str, str]]:
    """An Xvfb of our own; yields the environment in which windows open on it."""
    reader, writer = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{screen}x24", "-nolisten", "tcp"],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        number = os.read(reader, 16).decode().strip()
        yield os.environ | {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
    finally:
        os.close(reader)
        server.terminate()
        server.wait()


def output_of(
    script: str, *arguments: str, environment: dict[str, str] | None = None, quiet: bool = True
) -> str:
    """What a script of this folder prints. quiet: drop what it says on stderr, such as Qt's
    warnings."""
    return subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
    ).stdout


@contextmanager
def running(script: str, *arguments: str) -> Iterator[IO[str]]:
    """A script of this folder that runs until its standard input ends; yields what it prints."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.stdin.close()
        process.wait(timeout=120)
        process.stdout.close()


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of an app's log so far."""
    try:
        return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    except FileNotFoundError:
        return []


def wait_for_record(folder: Path, message: str, *, after: float = 0.0) -> dict[str, Any]:
    """The first record with this message and a later monotonic time."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for record in records(folder):
            if record["message"] == message and record.get("monotonic", 0.0) > after:
                return record
        time.sleep(0.1)
    raise TimeoutError(message)


def stop(process: "subprocess.Popen[Any]") -> None:
    """End an app in order."""
    process.terminate()
    process.wait(timeout=60)


def longest_gap(folder: Path, begin: float, end: float) -> float:
    """Milliseconds of the longest gap between two beats of the window's loop."""
    gaps = [
        record["milliseconds"]
        for record in records(folder)
        if record["message"] == "longest gap" and begin < record["monotonic"] <= end
    ]
    return max(gaps)


def row(what: str, value: str, note: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what:<54} | {value:>16} | {note} |", flush=True)
