"""What fails out there, done to one app of a swarm. Each harm returns once it is undone."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench.parts.swarms import LARGE_SPEC, SPEC, Swarm
from tests.support.damage import damages
from tests.support.processes.apps import App, running_parts

MINUTE = 60.0
HOUR = 3600


@dataclass(frozen=True)
class Fault:
    """A harm, and the swarm that it is done to."""

    do: Callable[[Swarm], Awaitable[None]]
    spec: dict[str, Any]
    networked: bool = False
    """Each app on a host of its own."""
    small_disk: bool = False
    """The victim's."""
    clocked: bool = False
    """The victim's clock can be set."""


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
    descendants = psutil.Process(swarm.victim.process.pid).children(recursive=True)
    mine = [each for each in running_parts() if each in descendants]
    swarm.victim.process.kill()
    await swarm.victim.ends()
    await asyncio.to_thread(psutil.wait_procs, mine, 60.0)
    await swarm.again()


async def halt(swarm: Swarm) -> None:
    """Stop the trainer's whole group for a minute, at a random moment of its epoch."""
    await asyncio.sleep(swarm.chance.uniform(0.0, 3.0))
    await _halt_for_a_minute(swarm)


async def halt_in_matchmaking(swarm: Swarm) -> None:
    """Stop it as it begins to look for a group."""
    await _logged(swarm.victim, "Pre-scheduling gradient averaging round")
    await _halt_for_a_minute(swarm)


async def halt_in_allreduce(swarm: Swarm) -> None:
    """Stop it as its round begins."""
    await _logged(swarm.victim, "Beginning optimizer step")
    await _halt_for_a_minute(swarm)


async def _halt_for_a_minute(swarm: Swarm) -> None:
    group = swarm.victim.trainer().pid
    os.killpg(group, signal.SIGSTOP)
    await asyncio.sleep(MINUTE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


async def _logged(app: App, text: str) -> None:
    """Wait until its log says a text once more; progress lines come too seldom for that."""
    begin = len(app.log())
    while text not in app.log()[begin:]:  # noqa: ASYNC110  a file has no event
        await asyncio.sleep(0.02)


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


async def damage_file(swarm: Swarm) -> None:
    """End the victim, damage one of its files, start it again: another file with each run."""
    victim = swarm.victim
    await victim.stop()
    files = sorted(each for each in victim.folder.rglob("*") if is_damageable(each))
    file = files[swarm.number % len(files)]
    for _what in damages(file, times=swarm.chance.randrange(1, 15)):
        pass
    swarm.told.append(f"[{file.relative_to(victim.folder)}]")
    await swarm.again()


def is_damageable(path: Path) -> bool:
    """A file that the app needs again, and that holds something."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    return path.suffix in (".pem", ".pt", ".sqlite", ".json", ".key", ".bin", ".token")


async def busy(_swarm: Swarm) -> None:
    """Let two other programs compute for a minute."""
    python = (sys.executable, "-c", "while True: pass")
    loops = [await asyncio.create_subprocess_exec(*python) for _ in range(2)]
    await asyncio.sleep(MINUTE)
    for loop in loops:
        loop.kill()
        await loop.wait()


async def crowd(swarm: Swarm) -> None:
    """Ten more start within a second; five of them are killed as soon as they train."""
    more = await asyncio.gather(*(swarm.visit(f"crowd-{number}") for number in range(10)))
    staying, leaving = more[::2], more[1::2]

    async def leave(app: App) -> None:
        with contextlib.suppress(TimeoutError, AssertionError):
            await app.wait_for(lambda line: line["phase"] == "training")
        app.process.kill()
        await app.ends()

    await asyncio.gather(*map(leave, leaving))
    await asyncio.gather(*(each.trains(peers=3) for each in staying))
    await asyncio.gather(*(each.stop() for each in staying))


async def partition(swarm: Swarm) -> None:
    """Pull the victim's cable out for two minutes."""
    swarm.cut()
    await asyncio.sleep(2 * MINUTE)
    swarm.restore()


async def cut_while_downloading(swarm: Swarm) -> None:
    """Let the victim begin anew on a slow line; pull its cable out while the state comes."""
    await _begin_anew(swarm, rate="5mbit")
    await swarm.victim.wait_for(
        lambda line: bool(line["state_download"]) and line["state_download"]["received"] > 0
    )
    swarm.cut()
    await asyncio.sleep(MINUTE)
    swarm.restore()


async def join_slowly(swarm: Swarm) -> None:
    """Let the victim begin anew on a line of 5 Mbit/s."""
    await _begin_anew(swarm, rate="5mbit")


async def _begin_anew(swarm: Swarm, *, rate: str) -> None:
    """End the victim, and let another machine join behind a line of some rate."""
    gone = swarm.apps.pop()
    await gone.stop()
    name = "slow"
    assert swarm.net is not None
    swarm.hosts[name] = swarm.net.host(name)
    swarm.net.limit(swarm.hosts[name], rate)
    await swarm.join(name)


async def start_in_the_future(swarm: Swarm) -> None:
    """Start the victim with a clock that is an hour ahead, until it says so."""
    await _start_with_clock(swarm, HOUR)


async def start_in_the_past(swarm: Swarm) -> None:
    """The same, an hour behind."""
    await _start_with_clock(swarm, -HOUR)


async def _start_with_clock(swarm: Swarm, seconds: int) -> None:
    assert swarm.clock is not None
    await swarm.victim.stop()
    swarm.clock.set(seconds)
    await swarm.again()
    with contextlib.suppress(TimeoutError, AssertionError):
        async with asyncio.timeout(2 * MINUTE):
            await swarm.victim.wait_for(lambda line: bool(line["problem"] or line["warnings"]))
    with contextlib.suppress(TimeoutError):  # a headless app that can't join ends
        async with asyncio.timeout(30.0):
            await swarm.victim.process.wait()
    swarm.clock.set(0)
    if swarm.victim.process.returncode is not None:
        await swarm.again()


async def set_clock_ahead(swarm: Swarm) -> None:
    """Set the victim's clock an hour ahead while it trains, and right after a minute."""
    await _set_clock_for_a_minute(swarm, HOUR)


async def set_clock_back(swarm: Swarm) -> None:
    """The same, an hour behind."""
    await _set_clock_for_a_minute(swarm, -HOUR)


async def _set_clock_for_a_minute(swarm: Swarm, seconds: int) -> None:
    assert swarm.clock is not None
    swarm.clock.set(seconds)
    await asyncio.sleep(MINUTE)
    swarm.clock.set(0)


def _networked(do: Callable[[Swarm], Awaitable[None]], spec: dict[str, Any] = SPEC) -> Fault:
    return Fault(do, spec | {"local": False}, networked=True)


FAULTS: dict[str, Fault] = {
    "none": Fault(nothing, SPEC),
    "kill -9 trainer": Fault(kill_trainer, SPEC),
    "kill -9 trainer's group": Fault(kill_group, SPEC),
    "kill -9 app's p2pd": Fault(kill_app_daemon, SPEC),
    "kill -9 trainer's p2pd": Fault(kill_trainer_daemon, SPEC),
    "kill -9 forked process": Fault(kill_forked, SPEC),
    "kill -9 app": Fault(kill_app, SPEC),
    "SIGSTOP for 60 s": Fault(halt, SPEC),
    "SIGSTOP for 60 s in matchmaking": Fault(halt_in_matchmaking, SPEC),
    "SIGSTOP for 60 s in all-reduce": Fault(halt_in_allreduce, SPEC),
    "partition for 2 min": _networked(partition),
    "cable out in state download": _networked(cut_while_downloading, LARGE_SPEC),
    "joiner at 5 Mbit/s": _networked(join_slowly, LARGE_SPEC),
    "clock +1 h at start": Fault(start_in_the_future, SPEC, clocked=True),
    "clock -1 h at start": Fault(start_in_the_past, SPEC, clocked=True),
    "clock +1 h while training": Fault(set_clock_ahead, SPEC, clocked=True),
    "clock -1 h while training": Fault(set_clock_back, SPEC, clocked=True),
    "disk full": Fault(fill_disk, SPEC, small_disk=True),
    "damaged file": Fault(damage_file, SPEC),
    "busy machine for 60 s": Fault(busy, SPEC),
    "crowd of ten, half leave": Fault(crowd, SPEC),
}
