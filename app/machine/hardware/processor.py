"""The processor and the machine's memory, through psutil and Linux's hwmon and RAPL files."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.machine.energy import POWERCAP, Counter, cpu_counters
from app.machine.hardware.readings import Cpu
from app.machine.hardware.sysfs import SYS, line, scaled

if TYPE_CHECKING:
    import psutil

SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Kernel drivers of CPU temperature sensors; ``temp1`` of each is the whole processor's."""

SEARCH_SECONDS = 10.0
"""Between two searches for our child processes, each of which reads a file of every process."""


class Processor:
    """Reads the processor and the memory. One thread at a time may use it.

    Use and power are means since the previous reading, so they are None at the first.
    """

    def __init__(self, *, sys: Path = SYS, powercap: Path = POWERCAP) -> None:
        self._sensor = _sensor(sys)
        self._powercap = powercap
        self._counters: Sequence[Counter] | None = None
        self._ours = _OurProcesses()
        self._before: tuple[float, ...] | None = None

    def read(self) -> Cpu:
        """The current figures of the processor and the memory."""
        import psutil

        memory, (clock, max_clock) = psutil.virtual_memory(), _clocks()
        use, ours, power = self._since_before()
        return Cpu(
            use=use,
            others_use=None if use is None or ours is None else max(0.0, use - ours),
            memory=memory.total,
            memory_used=memory.total - memory.available,
            temperature=None if self._sensor is None else scaled(self._sensor, 1e-3),
            power=power,
            clock=clock,
            max_clock=max_clock,
        )

    def _since_before(self) -> tuple[float | None, float | None, float | None]:
        """Total use and our processes' use (0 to 1), and power (W), since the previous reading."""
        before, now = self._before, self._totals()
        self._before = now
        if before is None:
            return None, None, None
        seconds, busy, ours, joules = (new - old for new, old in zip(now, before, strict=True))
        capacity = seconds * (os.cpu_count() or 1)
        power = joules / seconds if self._counters and seconds else None
        return _share(busy, capacity), _share(ours, capacity), power

    def _totals(self) -> tuple[float, float, float, float]:
        """Monotonic counters: wall time, busy CPU time of all cores, of our processes; joules."""
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return time.monotonic(), sum(times[:8]) - idle, self._ours.seconds(), self._joules()

    def _joules(self) -> float:
        if self._counters is None:
            self._counters = ()
            with suppress(OSError):  # on many systems only root may read it
                self._counters = cpu_counters(self._powercap)
        try:
            return sum(counter() for counter in self._counters)
        except OSError:
            self._counters = ()
            return 0.0


def _share(part: float, whole: float) -> float | None:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


class _OurProcesses:
    """The CPU time of the app and its child processes."""

    def __init__(self) -> None:
        self._known: dict[psutil.Process, float] = {}
        self._searched = -SEARCH_SECONDS
        self._used = 0.0

    def seconds(self) -> float:
        """CPU seconds that they have used, each since it was first seen; never decreases."""
        import psutil

        if time.monotonic() - self._searched >= SEARCH_SECONDS:
            self._searched = time.monotonic()
            this = psutil.Process()
            running = [this, *this.children(recursive=True)]
            self._known = {each: self._known.get(each, _seconds_of(each)) for each in running}
        now = {each: _seconds_of(each) for each in self._known}
        # per process: the sum of totals would fall when a process ends
        self._used += sum(max(0.0, now[each] - before) for each, before in self._known.items())
        self._known = now
        return self._used


def _seconds_of(process: "psutil.Process") -> float:
    import psutil

    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended
        return 0.0
    return float(times.user + times.system)


def _clocks() -> tuple[float | None, float | None]:
    """The current and the highest clock in MHz."""
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError):  # not available on some virtual machines
        return None, None
    if frequency is None:  # possible, though psutil's type stubs deny it
        return None, None
    return frequency.current or None, frequency.max or None


def _sensor(sys: Path) -> Path | None:
    """The file with the processor's temperature in thousandths of a degree; None without one.

    psutil reads all sensors of the machine at each call, and a disk's sensor is slow.
    """
    for folder in sorted(sys.glob("class/hwmon/hwmon*")):
        if line(folder / "name") in SENSORS and (folder / "temp1_input").exists():
            return folder / "temp1_input"
    return None
