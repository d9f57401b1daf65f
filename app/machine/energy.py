"""Energy that a device uses, from the hardware's own counters.

GPUs: NVML. CPUs: RAPL, which the kernel exposes under /sys/class/powercap and which only root may
read on many distributions. Without a counter the energy is unknown, never estimated.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.protocol import Device

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Between two readings: over less, the counters' own steps would be seen as power."""

POWERCAP = Path("/sys/class/powercap")

Counter = Callable[[], float]
"""A monotonic counter of the joules that one part has used. Raises `OSError` when unreadable."""


class EnergyMeter:
    """Measures the energy of some devices together.

    Not thread-safe; a reading takes about a millisecond.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._powercap = powercap
        self._devices: tuple[Device, ...] = ()
        self._counters: Sequence[Counter] = ()
        self._last: Sequence[float] = ()
        self._taken_at = 0.0
        self.power: float | None = None
        """Watts between the last two readings; None while not known."""

    def take(self, devices: Sequence[Device]) -> float | None:
        """Joules that the devices have used since the previous call for the same devices.

        None for the first call, and when one of them has no readable counter.
        """
        try:
            if self._devices != tuple(devices):
                self._devices = tuple(devices)
                found = [counters_of(each, powercap=self._powercap) for each in devices]
                self._counters = [each for counters in found for each in counters]
                if not all(found):
                    self._counters = []  # a part would pass for the whole
                self._last = [counter() for counter in self._counters]
                self._taken_at, self.power = time.monotonic(), None
                return None
            now = [counter() for counter in self._counters]
        except OSError as error:
            log.info("an energy counter can't be read: %s", error)
            self._counters = self._last = ()  # not read again until the devices change
            self.power = None
            return None
        used = sum(max(0.0, new - old) for new, old in zip(now, self._last, strict=True))
        self._last = now
        if not self._counters:
            return None
        seconds = time.monotonic() - self._taken_at
        self._taken_at += seconds
        if seconds >= LEAST_SECONDS:
            self.power = used / seconds
        return used


def power_limit(devices: Sequence[Device], *, powercap: Path = POWERCAP) -> float | None:
    """Watts that devices draw at most for long, together; None where a limit can't be read.

    GPUs: what NVML enforces. CPUs: the long-term limit of RAPL, which everybody may read. The first
    call for a GPU takes some tenths of a second.
    """
    try:
        limits = [sum(_limits_of(each, powercap)) for each in devices]
    except OSError as error:
        log.info("a power limit can't be read: %s", error)
        return None
    return sum(limits) or None if all(limits) else None


def _limits_of(device: Device, powercap: Path) -> list[float]:
    if device.id == "cpu":
        zones = _packages(powercap)
        return [_number(zone / "constraint_0_power_limit_uw") / 1e6 for zone in zones]
    if device.id.startswith("cuda"):
        return [_board_limit(board) for board in _boards(device)]
    return []


def counters_of(device: Device, *, powercap: Path = POWERCAP) -> list[Counter]:
    """The energy counters of a device; [] when it has none.

    powercap: the kernel's folder of RAPL zones. Raises `OSError` when a counter can't be read.
    """
    if device.id == "cpu":
        return cpu_counters(powercap)
    if device.id.startswith("cuda"):
        return [_PowerBoard(board) for board in _boards(device)]
    return []


# --- CPU


def cpu_counters(powercap: Path) -> list[Counter]:
    """A counter for each CPU package; raises as `counters_of`."""
    return [_Package(zone) for zone in _packages(powercap)]


def _packages(powercap: Path) -> list[Path]:
    """The RAPL zones of whole CPU packages, whose energy includes their sub-zones'."""
    zones = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with contextlib.suppress(OSError):
            if (zone / "name").read_text().startswith("package"):
                zones.append(zone)
    return zones


class _Package:
    """A RAPL counter in microjoules, which wraps around in less than an hour on a busy CPU."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        self._last = _number(self._file)
        self._used = 0

    def __call__(self) -> float:
        now = _number(self._file)
        self._used += (now - self._last) % (self._range + 1)
        self._last = now
        return self._used / 1e6


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except ValueError as error:
        raise OSError(f"{file} holds no number") from error


# --- GPU


def _boards(device: Device) -> list[Any]:
    """NVML's handle of a GPU, [] where it can't be told which one it is.

    CUDA and NVML number GPUs differently: it is found by its UUID, or else, where only one has it,
    by its name.
    """
    import pynvml

    try:
        pynvml.nvmlInit()  # never shut down: NVML stays loaded until the process ends
        boards = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        named = [each for each in boards if _text(pynvml.nvmlDeviceGetName(each)) == device.name]
        same = [each for each in boards if _text(pynvml.nvmlDeviceGetUUID(each)) == device.uuid]
    except pynvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error
    return same or (named if len(named) == 1 else [])


def _board_limit(board: Any) -> float:
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(board)) / 1000
    except pynvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


class _PowerBoard:
    """NVML's counter in millijoules since the driver was loaded; GPUs before Volta have none."""

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def __call__(self) -> float:
        import pynvml

        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error
