"""`make bench`: measure what the README claims, each figure as a ratio in one run.

python tests/bench/run.py [startup] [stalls] [trainer] [machines]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


# --- many machines -------------------------------------------------------------------------------

CROWDS = (10, 100, 1000, 3000)
NODES = 8
RUN_ID = "bench"
GAPS = {
    "idle": "before the page is opened",
    "first": "until the full picture",
    "watch": "in 30 s of watching",
}


@contextmanager
def crowd(machines: int) -> Iterator[tuple[list[str], float]]:
    """So many machines' records on real DHT nodes; yields addresses to enter by, and the bytes
    that one machine's publishing takes a minute."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "crowd.py"), RUN_ID, str(NODES), str(machines)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        addresses = [json.loads(process.stdout.readline())[0] for _ in range(NODES)]
        published = float(process.stdout.readline())
        assert process.stdout.readline() == "published\n"
        yield addresses, published
    finally:
        process.stdin.close()
        process.wait(timeout=120)
        process.stdout.close()


def read_crowd(machines: int) -> dict[str, Any]:
    """The real window on a swarm of so many machines."""
    with virtual_display() as environment, tempfile.TemporaryDirectory() as name:
        file = Path(name) / "bench.cotrain"
        with crowd(machines) as (addresses, published):
            content = demo_spec() | {"run_id": RUN_ID, "initial_peers": addresses}
            file.write_text(json.dumps(content))
            output = subprocess.run(
                [sys.executable, str(HERE / "fleet_window.py"), str(file), str(machines)],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ).stdout
        return json.loads(output.splitlines()[-1]) | {"published": published}


def demo_spec() -> dict[str, Any]:
    """The demo's spec, as its file would be."""
    sys.path.insert(0, str(ROOT))
    from app.demo import demo_spec as spec

    return spec().to_json()


def machines() -> None:
    """The machines' page on ever larger swarms."""
    for count in CROWDS:
        found = read_crowd(count)
        target = "≤ 3 s" if count == 1000 else ""
        stall = "(≤ 50 ms)" if count == 1000 else ""
        row(f"{count} machines: full picture after", f"{found['full']:.2f} s", target)
        for name, what in GAPS.items():
            row(
                f"{count} machines: longest gap {what}",
                f"{found[f'{name}_gap']:.0f} ms",
                f"{found[f'{name}_busy']:.0f} ms of it computing {stall}".rstrip(),
            )
        row(
            f"{count} machines: memory of the window",
            f"{found['after']:.0f} MiB",
            f"{found['before']:.0f} MiB without the page",
        )
        row(
            f"{count} machines: reading, per machine and minute",
            f"{found['bytes_a_minute'] / count / 1000:.1f} kB",
            f"{found['bytes_a_minute'] / 1e6:.2f} MB in all, while someone looks",
        )
        row(
            f"{count} machines: publishing, per machine and minute",
            f"{found['published'] / 1000:.1f} kB",
            f"{found['silent']} silent. {found['dropped']}",
        )


def row(what: str, value: str, note: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what:<54} | {value:>16} | {note} |", flush=True)


PARTS = {"startup": startup, "stalls": stalls, "trainer": trainer, "machines": machines}


def main() -> None:
    """Run the parts named on the command line, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
