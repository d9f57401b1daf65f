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

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Between two readings: over less, the counters' own steps would be seen as power."""

POWERCAP = Path("/sys/class/powercap")

Counter = Callable[[], float]
"""A monotonic counter of the joules that one part has used. Raises `OSError` when unreadable."""


class EnergyMeter:
    """Measures the energy of one device at a time.

    Not thread-safe; a reading takes about a millisecond.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._powercap = powercap
        self._device = ("", "")
        self._counters: Sequence[Counter] = ()
        self._last: Sequence[float] = ()
        self._taken_at = 0.0
        self.power: float | None = None
        """Watts between the last two readings; None while not known."""

    def take(self, device: str, name: str) -> float | None:
        """Joules that the device has used since the previous call for the same device.

        None for the first call, and when the device has no readable counter. device, name: as
        torch gives them (``cuda:0``, "NVIDIA H100").
        """
        try:
            if self._device != (device, name):
                self._device = (device, name)
                self._counters = counters_of(device, name, powercap=self._powercap)
                self._last = [counter() for counter in self._counters]
                self._taken_at, self.power = time.monotonic(), None
                return None
            now = [counter() for counter in self._counters]
        except OSError as error:
            log.info("the energy counter of %s can't be read: %s", device, error)
            self._counters = self._last = ()  # not read again until the device changes
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


def power_limit(device: str, name: str, *, powercap: Path = POWERCAP) -> float | None:
    """Watts that a device draws at most for long; None where its limit can't be read.

    GPUs: what NVML enforces. CPUs: the long-term limit of RAPL, which everybody may read. The first
    call for a GPU takes some tenths of a second.
    """
    try:
        if device == "cpu":
            zones = _packages(powercap)
            limits = [_number(zone / "constraint_0_power_limit_uw") / 1e6 for zone in zones]
        elif device.startswith("cuda"):
            limits = [_board_limit(board) for board in _boards(name)]
        else:
            limits = []
    except OSError as error:
        log.info("the power limit of %s can't be read: %s", device, error)
        return None
    return sum(limits) or None


def counters_of(device: str, name: str, *, powercap: Path = POWERCAP) -> list[Counter]:
    """The energy counters of a device; [] when it has none.

    powercap: the kernel's folder of RAPL zones. Raises `OSError` when a counter can't be read.
    """
    if device == "cpu":
        return [_Package(zone) for zone in _packages(powercap)]
    if device.startswith("cuda"):
        return _gpu(name)
    return []


# --- CPU


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


def _gpu(name: str) -> list[Counter]:
    return [_PowerBoard(board) for board in _boards(name)]


def _boards(name: str) -> list[Any]:
    """NVML's handle of the GPU with this name, if exactly one has it: CUDA and NVML number GPUs
    differently."""
    import pynvml

    try:
        pynvml.nvmlInit()  # never shut down: NVML stays loaded until the process ends
        boards = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        found = [board for board in boards if _text(pynvml.nvmlDeviceGetName(board)) == name]
    except pynvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error
    return found if len(found) == 1 else []


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
