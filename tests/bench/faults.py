"""`make faults`: what fails out there, done on purpose to real apps; who notices, and for how long?

python tests/bench/faults.py [--runs N] [--seed N] [FAULT…]

Apps train the tiny spec together on the built-in text. One of them, the victim, meets a fault at a
random moment of an epoch. The table is that of `docs/faults.md`:

- held: in how many runs all trained together again, nothing was left behind, and nobody was shown
  a traceback
- others, victim: seconds from the fault until they entered a round together again, median and worst
- lost: samples of all peers that were computed and entered no round, median and worst. A round that
  is under way at the end is lost as well, in "none" too.
- doubled: contributions of one machine whose times overlap
- told: what the victim's user was shown meanwhile
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
os.environ["COTRAIN_NICENESS"] = "0"  # else a busy machine leaves the trainers no time
os.environ["COTRAIN_TEST_RUN"] = f"faults-{os.getpid()}"  # marks all that the apps start
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from tests.support.damage import damages  # noqa: E402
from tests.support.processes.apps import (  # noqa: E402
    App,
    Line,
    running_parts,
    start_app,
    tiny_spec,
    training,
)

SETTLED = 2
"""Rounds together before the fault."""

PATIENCE = 420.0
"""Seconds until a run counts as not held."""


@dataclass
class Swarm:
    """The apps of one run. The first stays whole; the second meets the fault."""

    folder: Path
    chance: random.Random
    apps: list[App] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def start(self, name: str, *, invite: Path | None = None) -> App:
        """Start one more app, on a folder of this name."""
        file = self.folder / "run.cotrain"
        if invite is None:
            file.write_text(json.dumps(SPEC))
        app = await start_app(self.folder / name, "--swarm", str(invite or file))
        self.apps.append(app)
        return app

    @property
    def victim(self) -> App:
        return self.apps[-1]

    @property
    def witness(self) -> App:
        return self.apps[0]

    async def again(self) -> None:
        """Start the victim again on its folder, after its end."""
        gone = self.apps.pop()
        self.told += told_by(gone)
        self.apps.append(
            await start_app(gone.folder, "--swarm", str(self.folder / "joined.cotrain"))
        )


SPEC = tiny_spec(
    run_id="faults",
    training_params=training(
        averaging={
            "compression": "none",
            "matchmaking_seconds": 2.0,
            "timeout_seconds": 20.0,
            "record_seconds": 10.0,
        }
    ),
)

Fault = Callable[[Swarm], Awaitable[None]]


# --- the faults


def trainers_of(app: App) -> list[psutil.Process]:
    """The trainer's main process, and all that it started."""
    main = app.trainer()
    return [main, *main.children(recursive=True)]


def daemon_of(process: psutil.Process) -> psutil.Process:
    """Its p2pd."""
    return next(child for child in process.children() if child.name() == "p2pd")


async def nothing(_swarm: Swarm) -> None:
    """No fault: what two epochs take."""


async def kill_trainer(swarm: Swarm) -> None:
    """Kill the trainer's main process."""
    swarm.victim.trainer().kill()


async def kill_group(swarm: Swarm) -> None:
    """Kill the trainer's process group."""
    os.killpg(swarm.victim.trainer().pid, signal.SIGKILL)


async def kill_app_daemon(swarm: Swarm) -> None:
    """Kill the app's p2pd."""
    daemon_of(psutil.Process(swarm.victim.process.pid)).kill()


async def kill_trainer_daemon(swarm: Swarm) -> None:
    """Kill the trainer's p2pd."""
    next(each for each in trainers_of(swarm.victim) if each.name() == "p2pd").kill()


async def kill_forked(swarm: Swarm) -> None:
    """Kill one of the processes that hivemind forked: the DHT's, or an averager's."""
    main = swarm.victim.trainer()
    forked = [each for each in main.children() if each.cmdline() == main.cmdline()]
    swarm.chance.choice(forked).kill()


async def kill_app(swarm: Swarm) -> None:
    """Kill the app, and start it again."""
    parts = running_parts()
    mine = [each for each in parts if each.pid in _descendants(swarm.victim.process.pid)]
    swarm.victim.process.kill()
    await swarm.victim.process.wait()
    await asyncio.to_thread(psutil.wait_procs, mine, 60.0)
    await swarm.again()


async def halt(swarm: Swarm) -> None:
    """Stop the trainer's whole group for a minute, at a random moment of its epoch."""
    await asyncio.sleep(swarm.chance.uniform(0.0, 3.0))
    group = swarm.victim.trainer().pid
    os.killpg(group, signal.SIGSTOP)
    await asyncio.sleep(60.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


async def fill_disk(swarm: Swarm) -> None:
    """Leave no byte on the victim's disk until it says so, then make room again."""
    filler = swarm.victim.folder / "filler"
    with filler.open("wb") as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(2**16))
            stream.flush()
    before = len(swarm.victim.lines)
    await swarm.victim.wait_for(lambda line: bool(line["warnings"]), after=before)
    filler.unlink()
    await swarm.victim.wait_for(lambda line: not line["warnings"], after=len(swarm.victim.lines))


async def damage_files(swarm: Swarm) -> None:
    """End the victim, damage one of its files at random, start it again."""
    victim = swarm.victim
    await victim.stop()
    files = [each for each in victim.folder.rglob("*") if is_damageable(each)]
    file = swarm.chance.choice(sorted(files))
    turns = damages(file, times=swarm.chance.randrange(1, 15))
    for _what in turns:
        pass
    swarm.told.append(f"[{file.name}]")
    await swarm.again()


def is_damageable(path: Path) -> bool:
    """A file that the app needs again, and that holds something."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    return path.suffix in (".pem", ".pt", ".sqlite", ".json", ".key", ".bin")


async def busy(_swarm: Swarm) -> None:
    """Let two other programs compute for a minute."""
    python = (sys.executable, "-c", "while True: pass")
    loops = [await asyncio.create_subprocess_exec(*python) for _ in range(2)]
    await asyncio.sleep(60.0)
    for loop in loops:
        loop.kill()
        await loop.wait()


async def crowd(swarm: Swarm) -> None:
    """Four more join within a second; two of them leave in the middle of it."""
    more = [
        await start_app(
            swarm.folder / f"crowd-{number}", "--swarm", str(swarm.folder / "joined.cotrain")
        )
        for number in range(4)
    ]
    for leaving in more[:2]:
        await leaving.wait_for(lambda line: line["phase"] == "training")
        leaving.process.kill()
    await asyncio.gather(*(each.trains(peers=3) for each in more[2:]))
    await asyncio.gather(*(each.stop() for each in more[2:]))


FAULTS: dict[str, Fault] = {
    "none": nothing,
    "kill -9 trainer": kill_trainer,
    "kill -9 trainer's group": kill_group,
    "kill -9 app's p2pd": kill_app_daemon,
    "kill -9 trainer's p2pd": kill_trainer_daemon,
    "kill -9 forked process": kill_forked,
    "kill -9 app": kill_app,
    "SIGSTOP for 60 s": halt,
    "disk full": fill_disk,
    "damaged file": damage_files,
    "busy machine for 60 s": busy,
    "crowd": crowd,
}


# --- a run


@dataclass(frozen=True)
class Outcome:
    """What one run showed."""

    others: float | None
    victim: float | None
    lost: int
    doubled: int
    told: tuple[str, ...]
    left: tuple[str, ...]
    tracebacks: int

    @property
    def held(self) -> bool:
        """All of it went well."""
        recovered = self.others is not None and self.victim is not None
        return recovered and not self.left and not self.tracebacks and not self.doubled


async def run(fault: Fault, seed: int) -> Outcome:
    """Two apps train together, one meets the fault, both must go on together."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        swarm = Swarm(Path(name), random.Random(seed))
        with disk(swarm, limited=fault is fill_disk):
            others = victim = None
            with contextlib.suppress(TimeoutError, AssertionError):  # the run counts as not held
                others, victim = await _run(swarm, fault)
            told = swarm.told + told_by(swarm.victim)
            shown = [app.errors for app in swarm.apps]
            for app in reversed(swarm.apps):
                await app.stop()
            return Outcome(
                others=others,
                victim=victim,
                lost=sum(lost(app) for app in swarm.apps),
                doubled=sum(doubled(app) for app in swarm.apps),
                told=tuple(dict.fromkeys(told)),
                left=tuple(left_behind()),
                tracebacks=sum(text.count("Traceback") for text in shown),
            )


async def _run(swarm: Swarm, fault: Fault) -> tuple[float | None, float | None]:
    witness = await swarm.start("witness")
    there = await witness.wait_for(lambda line: bool(line["addresses"]))
    joined = swarm.folder / "joined.cotrain"
    joined.write_text(json.dumps(SPEC | {"initial_peers": list(there["addresses"])}))
    victim = await swarm.start("victim", invite=joined)
    for app in (witness, victim):
        await app.wait_for(lambda line: rounds(line, beyond=SETTLED))
    began, epoch = time.monotonic(), witness.last["epoch"] or 0
    await fault(swarm)
    return await asyncio.gather(
        back(swarm.witness, began=began, beyond=epoch + 1),
        back(swarm.victim, began=began, beyond=epoch + 1),
    )


def rounds(line: Line, *, beyond: int) -> bool:
    """A round of both, in an epoch beyond."""
    last = line["last_round"]
    whole = last is not None and last["peers"] >= 2 and last["failure"] is None
    return bool(whole and line["phase"] in ("training", "averaging") and last["epoch"] > beyond)


async def back(app: App, *, began: float, beyond: int) -> float | None:
    """Seconds until it entered a round with the other again; None if it didn't."""
    try:
        async with asyncio.timeout(PATIENCE):
            await app.wait_for(lambda line: rounds(line, beyond=beyond), after=len(app.lines))
    except (TimeoutError, AssertionError):
        return None
    return time.monotonic() - began


@contextlib.contextmanager
def disk(swarm: Swarm, *, limited: bool) -> Iterator[None]:
    """Give the victim a disk of its own; the app wants a gigabyte of it free to begin."""
    folder = swarm.folder / "victim"
    folder.mkdir()
    if limited:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        if limited:
            subprocess.run(["umount", "-l", folder], check=True)


def told_by(app: App) -> list[str]:
    """Problems and warnings that its user was shown."""
    told = []
    for line in app.lines:
        told += [line["problem"]] if line["problem"] else []
        told += line["warnings"]
    return list(dict.fromkeys(told))


def lost(app: App) -> int:
    """Samples in its ledger that were computed and entered no round."""
    with contextlib.closing(sqlite3.connect(app.folder / "ledger.sqlite")) as ledger:
        query = "SELECT ifnull(sum(samples_computed - samples), 0) FROM contributions"
        return int(ledger.execute(query).fetchone()[0])


def doubled(app: App) -> int:
    """Contributions in its ledger that begin before the one before has ended."""
    with contextlib.closing(sqlite3.connect(app.folder / "ledger.sqlite")) as ledger:
        query = "SELECT started_at, ended_at FROM contributions ORDER BY started_at"
        times = ledger.execute(query).fetchall()
    return sum(begin < end for (_, end), (begin, _) in itertools.pairwise(times))


def left_behind() -> list[str]:
    """Processes of the apps that outlived them."""
    _, alive = psutil.wait_procs(running_parts(), timeout=30.0)
    return [each.name() for each in alive]


def _descendants(pid: int) -> set[int]:
    return {each.pid for each in psutil.Process(pid).children(recursive=True)}


# --- the table


def main() -> None:
    """Run the faults that the command line names, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("faults", nargs="*", default=list(FAULTS), metavar="FAULT")
    wanted = parser.parse_args()
    _say(
        "| fault | held | others | victim | lost | doubled | told |",
        "|---|---|---|---|---|---|---|",
    )
    for name in wanted.faults:
        found = [
            asyncio.run(run(FAULTS[name], seed=wanted.seed + number))
            for number in range(wanted.runs)
        ]
        _say(_row(name, found))


def _row(name: str, found: list[Outcome]) -> str:
    told = list(dict.fromkeys(text for each in found for text in each.told))
    cells = (
        name,
        f"{sum(each.held for each in found)} of {len(found)}",
        _times([each.others for each in found]),
        _times([each.victim for each in found]),
        f"{statistics.median(each.lost for each in found):.0f}, {max(each.lost for each in found)}",
        str(sum(each.doubled for each in found)),
        "; ".join(told) or "–",
    )
    bad = [f"left {each.left}" for each in found if each.left]
    bad += [f"{each.tracebacks} tracebacks" for each in found if each.tracebacks]
    return "| " + " | ".join(cells) + " |" + (f" <!-- {bad} -->" if bad else "")


def _times(seconds: list[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    return f"{statistics.median(known):.0f} s, {max(known):.0f} s" if known else "never"


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
