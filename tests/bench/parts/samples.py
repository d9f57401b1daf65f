"""What processes take, over hours: samples, and whether they grow."""

import contextlib
import csv
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil

SHARED = Path("/dev/shm")
TEMPORARY = Path("/tmp")


@dataclass(frozen=True)
class Sample:
    """One process at one time; or, as the role ``shared``, what lies in shared places."""

    time: float
    """Seconds since the run began."""

    role: str
    """What the process is: the same over restarts."""

    pid: int

    uss: float
    """Memory that only it uses, in MiB; of ``shared``, what lies in /dev/shm."""

    pss: float
    """The same with its part of what it shares."""

    handles: int
    """Open files and sockets; of ``shared``, entries of /tmp."""

    threads: int
    """Of ``shared``, entries of /dev/shm."""


COLUMNS = tuple(each.name for each in fields(Sample))


def take(root: psutil.Process, since: float) -> list[Sample]:
    """All processes that descend from one, and the machine. since: monotonic."""
    now = time.monotonic() - since
    found = roles(root)
    samples = [_shared(now, {process.pid for process, _ in found})]
    for process, role in found:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            samples.append(
                Sample(
                    time=now,
                    role=role,
                    pid=process.pid,
                    uss=memory.uss / 2**20,
                    pss=memory.pss / 2**20,
                    handles=process.num_fds(),
                    threads=process.num_threads(),
                )
            )
    return samples


def _shared(now: float, pids: set[int]) -> Sample:
    """What torch shares between processes, by its files' names; /tmp is that of all programs."""
    sizes = []
    for path in SHARED.glob("torch_*"):
        with contextlib.suppress(OSError, ValueError):
            if int(path.name.split("_")[1]) in pids:
                sizes.append(path.stat().st_size)
    entries = sum(1 for _ in TEMPORARY.iterdir())
    total = sum(sizes) / 2**20
    return Sample(now, "shared", 0, uss=total, pss=total, handles=entries, threads=len(sizes))


def roles(root: psutil.Process) -> list[tuple[psutil.Process, str]]:
    """The app and its descendants, each with its role."""
    found = [(root, "app")]
    trainers = 0
    for child in _children(root):
        kind = _kind(child)
        if kind != "trainer":
            found.append((child, f"app's {kind}"))
            continue
        trainers += 1
        name = f"trainer {trainers}"
        found.append((child, name))
        forked = 0
        for grandchild in _children(child):
            what = _kind(grandchild)
            if what == "trainer":
                forked += 1
                what = f"fork {forked}"
            found.append((grandchild, f"{name}'s {what}"))
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return sorted(process.children(), key=lambda each: each.pid)
    return []


def _kind(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        for option in ("--trainer", "--guardian"):
            if option in process.cmdline():
                return option.removeprefix("--")
        return process.name()
    return "process"


def append(file: Path, samples: Iterable[Sample]) -> None:
    """Add them to a CSV file."""
    is_new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows(
            [f"{each:.2f}" if isinstance(each, float) else each for each in row]
            for row in map(astuple, samples)
        )


@dataclass(frozen=True)
class Slope:
    """How a value changes with time."""

    an_hour: float
    """Per hour."""

    confidence: float
    """Half of the 95 % interval; infinite where there are too few blocks."""

    mean: float

    @property
    def is_flat(self) -> bool:
        """Zero lies within the interval, or the growth is below 1 % an hour."""
        return abs(self.an_hour) <= max(self.confidence, 0.01 * abs(self.mean))


BLOCKS = 24
"""Neighbouring samples are alike, so the slope is that of the means of blocks of them."""


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """Least squares through the means of blocks. points: (seconds, value), in order."""
    from scipy import stats

    size = max(1, len(points) // BLOCKS)
    blocks = [points[begin : begin + size] for begin in range(0, len(points), size)]
    times = [statistics.fmean(time for time, _ in block) / 3600 for block in blocks]
    values = [statistics.fmean(value for _, value in block) for block in blocks]
    mean = statistics.fmean(values)
    if len(blocks) < 3:
        return Slope(0.0, math.inf, mean)
    line = stats.linregress(times, values)
    t = float(stats.t.ppf(0.975, len(blocks) - 2))
    error = float(line.stderr)  # not a number where all values are the same
    return Slope(float(line.slope), 0.0 if math.isnan(error) else t * error, mean)
