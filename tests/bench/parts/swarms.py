"""The swarms that `faults.py` does harm to: apps, the networks and clocks that they may have, and
what a run has shown."""

import contextlib
import itertools
import json
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.network.networks import Host, Internet
from tests.support.processes.apps import (
    App,
    Line,
    running_parts,
    start_app,
    tiny_spec,
    training,
)

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
"""Of Debian's libfaketime. A p2pd, which is a static program, keeps the true time."""

AVERAGING = {
    "compression": "none",
    "matchmaking_seconds": 2.0,
    "timeout_seconds": 20.0,
    "record_seconds": 10.0,
}

SPEC = tiny_spec(run_id="faults", training_params=training(averaging=AVERAGING))

LARGE_SPEC = SPEC | {
    "model_config": SPEC["model_config"] | {"n_layer": 3, "n_embd": 256, "n_head": 4},
    "training_params": training(
        averaging=AVERAGING | {"timeout_seconds": 60.0}, target_batch_size=512
    ),
}
"""2.4 million parameters: a state of 29 MB, which takes 46 s at 5 Mbit/s."""


@dataclass(frozen=True)
class ClockHost(Host):
    """A host whose programs see another time: see `Clock`."""

    variables: tuple[str, ...] = ()

    def within(self, *command: str) -> tuple[str, ...]:
        """A command line that runs a command with this clock."""
        return ("env", *self.variables, *command)


class Clock:
    """The clock of an app and of all that it starts. It can be set while they run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        variables = (
            f"LD_PRELOAD={FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_CACHE_DURATION=1",
            "DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        )
        self.host = ClockHost("clock", "", "", variables=variables)

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the true time, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._file)


@dataclass
class Swarm:
    """The apps of one run. The first, the witness, stays whole; the last meets the fault."""

    folder: Path
    number: int
    """Of the run, from 0; the seed of its chance."""

    spec: dict[str, Any]
    net: Internet | None = None
    """Apps are on hosts of their own."""

    clock: Clock | None = None
    """The victim's."""

    apps: list[App] = field(default_factory=list)
    ended: list[App] = field(default_factory=list)
    """Former lives of the victim."""

    guests: list[App] = field(default_factory=list)
    """Apps that only come and go."""

    told: list[str] = field(default_factory=list)
    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.number)

    @property
    def victim(self) -> App:
        """It meets the fault."""
        return self.apps[-1]

    @property
    def witness(self) -> App:
        """It stays whole."""
        return self.apps[0]

    @property
    def invite(self) -> Path:
        """By which others join."""
        return self.folder / "joined.cotrain"

    async def found(self) -> None:
        """Start the witness, which opens the run."""
        file = self.folder / "run.cotrain"
        file.write_text(json.dumps(self.spec))
        self.apps.append(await self._start("witness", file))
        there = await self.witness.wait_for(lambda line: bool(line["addresses"]))
        entry = self.spec | {"initial_peers": list(there["addresses"])}
        self.invite.write_text(json.dumps(entry))

    async def join(self, name: str) -> App:
        """Start one more app, which becomes the victim."""
        self.apps.append(await self._start(name, self.invite))
        return self.victim

    async def visit(self, name: str) -> App:
        """Start one more app, a guest."""
        self.guests.append(await self._start(name, self.invite))
        return self.guests[-1]

    async def _start(self, name: str, file: Path) -> App:
        return await start_app(self.folder / name, "--swarm", str(file), host=self._host(name))

    def _host(self, name: str) -> Host | None:
        if self.net is not None and name not in self.hosts:
            self.hosts[name] = self.net.host(name[:6])
        if self.clock is not None and name == "victim":
            return self.clock.host
        return self.hosts.get(name)

    def cut(self) -> None:
        """Pull the victim's cable out."""
        assert self.net is not None
        self.net.cut(self.hosts[self.victim.folder.name])

    def restore(self) -> None:
        """Put it in again."""
        assert self.net is not None
        self.net.restore(self.hosts[self.victim.folder.name])

    async def again(self) -> App:
        """Start the victim again on its folder, after its end."""
        gone = self.apps.pop()
        self.ended.append(gone)
        self.told += told_by(gone)
        return await self.join(gone.folder.name)


@dataclass(frozen=True)
class Outcome:
    """What one run showed; a line of the results."""

    fault: str
    number: int
    """Of the run; its seed."""

    others: float | None
    """Seconds until the witness had ended two epochs; None for never."""

    victim: float | None
    """Seconds until the victim was in a round with another again; None for never."""

    lost: int
    """Samples of all apps that were computed and entered no round."""

    contributions: int
    """Samples that entered a round and are not in the victim's ledger; below 0 for those that are
    in it twice."""

    doubled: int
    """Contributions of one machine whose times overlap."""

    told: tuple[str, ...]
    """What the victim's user was shown."""

    left: tuple[str, ...]
    """Processes that outlived their apps."""

    tracebacks: int
    """That a user was shown."""

    @property
    def held(self) -> bool:
        """All of it went well."""
        recovered = self.others is not None and self.victim is not None
        return recovered and not (self.left or self.tracebacks or self.doubled)


def outcome_of(swarm: Swarm, *, fault: str, seconds: tuple[float | None, float | None]) -> Outcome:
    """Of apps that have all ended."""
    apps = (*swarm.ended, *swarm.guests, *swarm.apps)
    folders = {app.folder for app in apps}
    told = swarm.told + told_by(swarm.victim)
    victims = [app for app in apps if app.folder == swarm.victim.folder]
    return Outcome(
        fault=fault,
        number=swarm.number,
        others=rounded(seconds[0]),
        victim=rounded(seconds[1]),
        lost=sum(_read(each, _LOST) for each in folders),
        contributions=sum(map(entered, victims)) - _read(swarm.victim.folder, _ENTERED),
        doubled=sum(map(_doubled, folders)),
        told=tuple(dict.fromkeys(told)),
        left=tuple(_left_behind()),
        tracebacks=sum(app.errors.count("Traceback") for app in apps),
    )


def rounded(seconds: float | None) -> float | None:
    """To tenths."""
    return None if seconds is None else round(seconds, 1)


def in_round(line: Line, *, beyond: int) -> bool:
    """Whether the line tells of a round with another peer, in an epoch beyond."""
    last = line["last_round"]
    whole = last is not None and last["peers"] >= 2 and last["failure"] is None
    return bool(whole and line["phase"] in ("training", "averaging") and last["epoch"] > beyond)


def told_by(app: App) -> list[str]:
    """Problems and warnings that its user was shown."""
    told = []
    for line in app.lines:
        told += [line["problem"]] if line["problem"] else []
        told += line["warnings"]
    return list(dict.fromkeys(told))


def entered(app: App) -> int:
    """Own samples that entered a round, as its lines say; each epoch once."""
    rounds = {}
    for line in app.lines:
        last = line["last_round"]
        if last is not None and last["failure"] is None:
            rounds[last["epoch"]] = last["samples"]
    return sum(rounds.values())


_LOST = "SELECT ifnull(sum(samples_computed - samples), 0) FROM contributions"
_ENTERED = "SELECT ifnull(sum(samples), 0) FROM contributions"


def _read(folder: Path, query: str) -> int:
    file = folder / "ledger.sqlite"
    if not file.exists():
        return 0
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        return int(ledger.execute(query).fetchone()[0])


def _doubled(folder: Path) -> int:
    """Contributions in its ledger that begin before the one before has ended."""
    if not (folder / "ledger.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        query = "SELECT started_at, ended_at FROM contributions ORDER BY started_at"
        times = ledger.execute(query).fetchall()
    return sum(begin < end for (_, end), (begin, _) in itertools.pairwise(times))


def _left_behind() -> list[str]:
    """Processes of the apps that outlived them."""
    _, alive = psutil.wait_procs(running_parts(), timeout=30.0)
    return [each.name() for each in alive]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own at a new folder; the app wants a gigabyte of it free to begin."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
