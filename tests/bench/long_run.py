"""Hours of the demo with the window open, while others come and go: does anything grow?

    python tests/bench/long_run.py [--minutes 120] [--seed N] [--out FOLDER] [--display xvfb]

The real window trains in the demo's swarm with its partner. Guests, which are real trainers, join
for some minutes each and leave, in order or by SIGKILL. Every ten seconds, memory, handles and
threads of each process of the app go to ``samples.csv``. At the end, ``report.md`` has the slopes
with their 95 % intervals, the loss, and the ledger against what the trainer reported;
``picture.svg`` shows the curves. --out must be a new folder.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
os.environ["COTRAIN_NICENESS"] = "0"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "bench")]

import psutil  # noqa: E402
from measuring import virtual_display  # noqa: E402

from tests.bench.parts.bare_trainer import BareTrainer  # noqa: E402
from tests.bench.parts.picture import Curve, Plot, svg  # noqa: E402
from tests.bench.parts.samples import Sample, append, slope, take  # noqa: E402

PERIOD_SECONDS = 10.0
WARM_UP = 0.1
"""Share of the run that counts for no slope: caches fill."""

STAY_MINUTES = (1.0, 8.0)
"""Of a guest."""

AWAY_MINUTES = (0.5, 4.0)
"""Between two guests of a place."""

PLACES = 2
"""Guests at a time, at most."""


class Window:
    """The app's window in its own process, and what its trainer reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.invite: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.losses: list[tuple[float, float]] = []
        """(seconds, nats per token)."""
        self.rounds: list[dict[str, Any]] = []
        self.entered = 0
        """Samples of all trainers' lives that have ended."""
        self._work: dict[str, Any] = {}
        self._began = time.time()

    async def start(self, environment: dict[str, str]) -> None:
        """Open it."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "tests" / "bench" / "long_window.py"), str(self.folder)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            limit=2**22,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            match told:
                case {"invite": invite}:
                    self.invite.set_result(invite)
                case {"Work": work}:
                    self._work = work
                case {"RoundEnded": ended}:
                    self.rounds.append(ended)
                case {"loss": {"loss": loss}}:
                    self.losses.append((told["time"] - self._began, loss))
                case {"gone": None}:
                    self.entered += self._work.get("samples_entered", 0)
                    self._work = {}

    async def close(self) -> int:
        """End it in order; returns its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        status = await self.process.wait()
        await self._reading
        self.entered += self._work.get("samples_entered", 0)
        return status

    def in_ledger(self) -> int:
        """Samples of all contributions."""
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.sqlite")) as ledger:
            query = "SELECT ifnull(sum(samples), 0) FROM contributions"
            return int(ledger.execute(query).fetchone()[0])


async def visit(place: int, folder: Path, invite: dict[str, Any], chance: random.Random) -> None:
    """Guests at one place, one after the other, until cancelled."""
    entries = list(invite["initial_peers"])
    spec = {name: value for name, value in invite.items() if name != "initial_peers"}
    number = 0
    while True:
        await asyncio.sleep(60 * chance.uniform(*AWAY_MINUTES))
        guest = BareTrainer(f"guest-{place}-{number}", folder)
        await guest.start(spec, entries)
        try:
            await asyncio.sleep(60 * chance.uniform(*STAY_MINUTES))
            if chance.random() < 0.5:
                await guest.leave()
        finally:
            await guest.kill()
        number += 1


async def run(minutes: float, seed: int, out: Path, environment: dict[str, str]) -> None:
    """All of it."""
    began, samples = time.monotonic(), list[Sample]()
    with tempfile.TemporaryDirectory(prefix="long-") as name:
        folder = Path(name)
        window = Window(folder / "app")
        await window.start(environment)
        visitors: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(300.0):
                invite = await window.invite
            for place in range(PLACES):
                chance = random.Random(f"{seed} {place}")
                visitors.append(asyncio.create_task(visit(place, folder, invite, chance)))
            root = psutil.Process(window.process.pid)
            while time.monotonic() - began < 60 * minutes and window.process.returncode is None:
                taken = await asyncio.to_thread(take, root, began)
                append(out / "samples.csv", taken)
                samples += taken
                await asyncio.sleep(PERIOD_SECONDS)
        finally:
            for task in visitors:
                task.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
            status = await window.close()
        report(out, samples, window, status=status, minutes=minutes)


Curves = dict[str, list[tuple[float, float]]]


def curves_of(samples: list[Sample], value: Callable[[Sample], float]) -> Curves:
    """By role: a value over time."""
    found: Curves = defaultdict(list)
    for sample in samples:
        found[sample.role].append((sample.time, value(sample)))
    return found


VALUES: dict[str, Callable[[Sample], float]] = {
    "USS, MiB": lambda sample: sample.uss,
    "PSS, MiB": lambda sample: sample.pss,
    "handles": lambda sample: sample.handles,
    "threads": lambda sample: sample.threads,
}


def report(
    out: Path, samples: list[Sample], window: Window, *, status: int, minutes: float
) -> None:
    """Write the report and the picture, and print the report."""
    lines = [
        f"{minutes:g} minutes, {len(window.rounds)} rounds of its trainer, exit status {status}.",
        "",
        "| process | value | mean | change an hour, 95 % | flat |",
        "|---|---|---|---|---|",
    ]
    begin = WARM_UP * samples[-1].time
    for name, value in VALUES.items():
        for role, points in curves_of(samples, value).items():
            late = [point for point in points if point[0] >= begin]
            if len(late) < 3:
                continue
            found = slope(late)
            change = f"{found.an_hour:+.2f} ± {found.confidence:.2f}"
            flat = "yes" if found.is_flat else "NO"
            lines.append(f"| {role} | {name} | {found.mean:.1f} | {change} | {flat} |")
    losses = [loss for _, loss in window.losses]
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    peers = [each["peers"] for each in window.rounds if not each["failure"]]
    failed = len(window.rounds) - len(peers)
    lines += [
        "",
        "Of the role shared, USS is what lies in /dev/shm, threads are its files, and handles the",
        "entries of /tmp.",
        "",
        f"Loss: {first:.3f} in the first tenth, {last:.3f} in the last.",
        f"Rounds: {failed} failed; the others had {min(peers)} to {max(peers)} peers.",
        f"Samples that entered: {window.entered}; in the ledger: {window.in_ledger()}.",
    ]
    (out / "report.md").write_text("\n".join(lines) + "\n")
    (out / "picture.svg").write_text(svg(plots_of(samples, window)))
    print("\n".join(lines))


def plots_of(samples: list[Sample], window: Window) -> list[Plot]:
    """Memory, handles, threads, loss."""
    plots = []
    for name in ("USS, MiB", "handles", "threads"):
        found = curves_of([each for each in samples if each.role != "shared"], VALUES[name])
        # a process that lived for a moment is no curve
        long = {role: points for role, points in found.items() if len(points) > len(samples) / 50}
        largest = sorted(long, key=lambda role: -max(value for _, value in long[role]))[:8]
        plots.append(Plot(name, [Curve(role, long[role]) for role in largest]))
    plots.append(Plot("loss, nats a token", [Curve("own", window.losses)], from_zero=False))
    return plots


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("long-run"))
    parser.add_argument("--display", choices=("offscreen", "xvfb"), default="offscreen")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
        if wanted.display == "xvfb":
            environment = stack.enter_context(virtual_display())
        asyncio.run(run(wanted.minutes, wanted.seed, wanted.out, environment))


if __name__ == "__main__":
    main()
