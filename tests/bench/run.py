"""`make bench`: measure what the README claims, each figure as a ratio in one run.

python tests/bench/run.py [startup] [stalls] [trainer] [callback]
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOG = Path("logs") / "contributor.log"


@contextmanager
def virtual_display() -> Iterator[dict[str, str]]:
    """An Xvfb of our own; yields the environment in which windows open on it."""
    reader, writer = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
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


# --- window painted ------------------------------------------------------------------------------


def seconds_to_paint_bare(environment: dict[str, str]) -> float:
    """From starting the interpreter to the first paint of a window with one plot."""
    started = time.monotonic()
    output = subprocess.run(
        [sys.executable, str(HERE / "bare_window.py")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
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


def startup() -> None:
    """Window painted: the app against a bare window."""
    with virtual_display() as environment:
        seconds_to_paint_bare(environment), seconds_to_paint_app(environment)  # warm the disk
        pairs = [
            (seconds_to_paint_bare(environment), seconds_to_paint_app(environment))
            for _ in range(7)
        ]
    bare, app = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    row("window painted, bare PySide6 and pyqtgraph", f"{bare:.2f} s")
    row("window painted, this app", f"{app:.2f} s", f"{ratio:.2f} × bare (≤ 1.6)")


# --- loop stalls ---------------------------------------------------------------------------------


def longest_gap(folder: Path, begin: float, end: float) -> float:
    """Milliseconds of the longest gap between two beats of the window's loop."""
    gaps = [
        record["milliseconds"]
        for record in records(folder)
        if record["message"] == "longest gap" and begin < record["monotonic"] <= end
    ]
    return max(gaps)


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


# --- trainer overhead ----------------------------------------------------------------------------

KINDS = ("torch", "hivemind", "trainer")


def samples_per_second(kind: str) -> float:
    """One run of a training loop; see ``training_loops.py``."""
    output = subprocess.run(
        [sys.executable, str(HERE / "training_loops.py"), kind],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # as the app starts its trainer
    ).stdout
    return float(output.splitlines()[-1])


def trainer() -> None:
    """Samples per second of the trainer against bare loops, in turn."""
    runs = [{kind: samples_per_second(kind) for kind in KINDS} for _ in range(3)]
    rates = {kind: statistics.median(run[kind] for run in runs) for kind in KINDS}
    to_torch = statistics.median(run["trainer"] / run["torch"] for run in runs)
    to_hivemind = statistics.median(run["trainer"] / run["hivemind"] for run in runs)
    row("bare PyTorch loop", f"{rates['torch']:.1f} samples/s")
    row("bare hivemind.Optimizer script, alone", f"{rates['hivemind']:.1f} samples/s")
    row(
        "this app's trainer, alone in its swarm",
        f"{rates['trainer']:.1f} samples/s",
        f"{to_torch:.3f} × PyTorch (≥ 0.95), {to_hivemind:.3f} × hivemind (≥ 1.0)",
    )


# --- the local API -------------------------------------------------------------------------------

CALLERS = 4
PERIOD_SECONDS = 20
PAIRS = 4


def api_of(folder: Path) -> str:
    """Where the app of this data folder serves its local API."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for record in records(folder):
            if "the local API is at " in record["message"]:
                return str(record["message"].rpartition(" ")[2])
        time.sleep(0.1)
    raise TimeoutError("the local API isn't served")


def computed(url: str) -> float:
    """Samples that the app's trainer has computed so far."""
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        found = re.search(rb"^cotrain_samples_total (\S+)", reply.read(), re.MULTILINE)
    assert found is not None
    return float(found[1])


STATUS = b"GET /api/v1/hivemind/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def call(url: str, until: float) -> list[float]:
    """Ask for the status on one connection, again and again; the seconds that each reply took.

    On a bare socket: a client library would take as much of the processor as the server does.
    """
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address) as connection:
        taken = []
        while (began := time.monotonic()) < until:
            connection.sendall(STATUS)
            reply = b""
            while not reply.endswith(b"}}"):
                reply += connection.recv(65536)
            assert reply.startswith(b"HTTP/1.1 200"), reply
            taken.append(time.monotonic() - began)
        return taken


@dataclass
class Period:
    """Some seconds of training. gap: of the window's loop, milliseconds; replies: seconds."""

    samples_per_second: float
    gap: float
    replies: list[float]


def period(folder: Path, url: str, *, callers: int) -> Period:
    """Watch for a while, with so many callers who never rest."""
    begin, samples = time.monotonic(), computed(url)
    until = begin + PERIOD_SECONDS
    with ThreadPoolExecutor(callers or 1) as pool:
        calling = [pool.submit(call, url, until) for _ in range(callers)]
        time.sleep(PERIOD_SECONDS)
        replies = [reply for each in calling for reply in each.result()]
    end = time.monotonic()
    rate = (computed(url) - samples) / (end - begin)
    time.sleep(1.1)  # the record of the last second
    return Period(rate, longest_gap(folder, begin + 1, end), replies)


def callback() -> None:
    """The status on loopback while the demo trains, and what that does to window and training."""
    with virtual_display() as environment, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("--demo", "--train", "--debug", "--data-dir", name)
        app = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        wait_for_record(
            folder, "training", after=wait_for_record(folder, "hivemind is loaded")["monotonic"]
        )
        url = api_of(folder)
        time.sleep(10)  # the first epochs are slower
        pairs = [
            (period(folder, url, callers=0), period(folder, url, callers=CALLERS))
            for _ in range(PAIRS)
        ]
        stop(app)
    replies = sorted(reply for _, loaded in pairs for reply in loaded.replies)
    ratio = statistics.median(b.samples_per_second / a.samples_per_second for a, b in pairs)
    alone, called = (max(each.gap for each in column) for column in zip(*pairs, strict=True))
    rate = len(replies) / (PERIOD_SECONDS * PAIRS)
    row(
        f"status, {CALLERS} callers who never rest",
        f"{rate:.0f} requests/s",
        f"p50 {1000 * statistics.median(replies):.1f} ms,"
        f" p99 {1000 * replies[int(0.99 * len(replies))]:.1f} ms (held back beyond 100/s)",
    )
    row("longest gap of the window, called / not", f"{called:.0f} / {alone:.0f} ms", "≤ 50 ms")
    row("samples/s while called", f"{ratio:.3f} ×", "of without (≥ 0.95)")


def row(what: str, value: str, note: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what:<44} | {value:>16} | {note} |", flush=True)


PARTS = {"startup": startup, "stalls": stalls, "trainer": trainer, "callback": callback}


def main() -> None:
    """Run the parts named on the command line, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
