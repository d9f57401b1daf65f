"""How much energy a device uses, from the counters that the hardware keeps.

GPUs: NVML. CPUs: RAPL, as the kernel shows it under /sys/class/powercap; many distributions let
only root read it. Where there is no counter, nothing is guessed.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")

Counter = Callable[[], float]
"""Joules that one part has used since it began to count. Raises `OSError` when it can't tell."""


class EnergyMeter:
    """Measures one device at a time. For one thread; a reading takes about a millisecond."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._powercap = powercap
        self._device = ("", "")
        self._counters: Sequence[Counter] = ()
        self._last: Sequence[float] = ()

    def take(self, device: str, name: str) -> float | None:
        """Joules that a device has used since the last call for it; None where not known, and at
        the first call. device, name: as torch says them (``cuda:0``, "NVIDIA H100")."""
        try:
            if self._device != (device, name):
                self._device = (device, name)
                self._counters = counters_of(device, name, powercap=self._powercap)
                self._last = [counter() for counter in self._counters]
                return None
            now = [counter() for counter in self._counters]
        except OSError as error:
            log.info("the energy that %s uses can't be read: %s", device, error)
            self._counters = self._last = ()  # until another device trains
            return None
        used = sum(max(0.0, new - old) for new, old in zip(now, self._last, strict=True))
        self._last = now
        return used if self._counters else None


def counters_of(device: str, name: str, *, powercap: Path = POWERCAP) -> list[Counter]:
    """What measures a device: nothing where it can't be measured."""
    if device == "cpu":
        return [_Package(zone) for zone in _packages(powercap)]
    if device.startswith("cuda"):
        return _gpu(name)
    return []


# --- CPU


def _packages(powercap: Path) -> list[Path]:
    """The zones of whole CPU packages; what lies below them is contained in them."""
    zones = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with contextlib.suppress(OSError):
            if (zone / "name").read_text().startswith("package"):
                zones.append(zone)
    return zones


class _Package:
    """A counter in microjoules that starts anew at its range, within the hour on a busy CPU."""

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
    """The board of this name, if there is just one: CUDA and NVML number them differently."""
    import pynvml

    try:
        pynvml.nvmlInit()  # stays for the process's life
        boards = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        found = [board for board in boards if _text(pynvml.nvmlDeviceGetName(board)) == name]
    except pynvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error
    return [_PowerBoard(found[0])] if len(found) == 1 else []


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


class _PowerBoard:
    """A counter in millijoules since the driver was loaded; none on boards before Volta."""

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def __call__(self) -> float:
        import pynvml

        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error
