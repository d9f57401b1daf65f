"""The processor and the machine's memory, by psutil and, on Linux, by its own sensors."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.machine.energy import POWERCAP, Counter, counters_of
from app.machine.hardware.readings import Cpu
from app.machine.hardware.sysfs import SYS, line, scaled

if TYPE_CHECKING:
    import psutil

SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""The kernel's drivers for a processor's temperature, the first of theirs being the whole's."""

LOOK_SECONDS = 10.0
"""Between two looks which programs are ours: it reads a file of each that runs."""


class Processor:
    """Use and power are means since the reading before, and not known at the first. For one
    thread at a time."""

    def __init__(self, *, sys: Path = SYS, powercap: Path = POWERCAP) -> None:
        self._sensor = _sensor(sys)
        self._powercap = powercap
        self._counters: Sequence[Counter] | None = None
        self._ours = _OurPrograms()
        self._before: tuple[float, ...] | None = None

    def read(self) -> Cpu:
        """The processor now."""
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
        """Use, our own use, and power."""
        before, now = self._before, self._totals()
        self._before = now
        if before is None:
            return None, None, None
        seconds, busy, ours, joules = (new - old for new, old in zip(now, before, strict=True))
        capacity = seconds * (os.cpu_count() or 1)
        power = joules / seconds if self._counters and seconds else None
        return _share(busy, capacity), _share(ours, capacity), power

    def _totals(self) -> tuple[float, float, float, float]:
        """Seconds, seconds of all cores' work, of ours, and joules, each since some beginning."""
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        return time.monotonic(), sum(times[:8]) - idle, self._ours.seconds(), self._joules()

    def _joules(self) -> float:
        if self._counters is None:
            self._counters = ()
            with suppress(OSError):  # only root may read it, on many systems
                self._counters = counters_of("cpu", "", powercap=self._powercap)
        try:
            return sum(counter() for counter in self._counters)
        except OSError:
            self._counters = ()
            return 0.0


def _share(part: float, whole: float) -> float | None:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


class _OurPrograms:
    """The app and all that it started."""

    def __init__(self) -> None:
        self._known: dict[psutil.Process, float] = {}
        self._looked = -LOOK_SECONDS
        self._used = 0.0

    def seconds(self) -> float:
        """The processor's time that they have used since each was first seen."""
        import psutil

        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            this = psutil.Process()
            running = [this, *this.children(recursive=True)]
            self._known = {each: self._known.get(each, _seconds_of(each)) for each in running}
        now = {each: _seconds_of(each) for each in self._known}
        # one by one: a sum would fall when one of them ends
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
    """MHz, now and at most."""
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError):  # some systems and virtual machines have none
        return None, None
    if frequency is None:  # psutil's word, though its stubs don't know it
        return None, None
    return frequency.current or None, frequency.max or None


def _sensor(sys: Path) -> Path | None:
    """The file that tells the processor's temperature in thousandths of a degree.

    psutil would read all sensors of the machine each time, and a disk's takes long.
    """
    for folder in sorted(sys.glob("class/hwmon/hwmon*")):
        if line(folder / "name") in SENSORS and (folder / "temp1_input").exists():
            return folder / "temp1_input"
    return None
