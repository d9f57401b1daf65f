"""AMD GPUs, read from the files of the kernel's amdgpu driver under /sys."""

from pathlib import Path
from typing import Any

from app.machine.hardware.readings import Gpu
from app.machine.hardware.sysfs import SYS, line, number, scaled

AMD = "0x1002"
_MICRO, _MILLI = 1e-6, 1e-3


class AmdGpus:
    """Finds the cards once and reads their figures at each call. Not thread-safe."""

    def __init__(self, sys: Path = SYS) -> None:
        self._sys = sys
        self._cards: list[_Card] | None = None

    def read(self) -> tuple[Gpu, ...]:
        """The current figures of every AMD GPU."""
        if self._cards is None:
            self._cards = self._find()
        return tuple(card.read() for card in self._cards)

    def _find(self) -> "list[_Card]":
        driver = line(self._sys / "module" / "amdgpu" / "version")
        folders = sorted(self._sys.glob("class/drm/card[0-9]*/device"), key=_number_of)
        own = [folder for folder in folders if _is_gpu(folder)]
        return [_Card(folder, index, driver) for index, folder in enumerate(own)]


def _number_of(folder: Path) -> tuple[int, str]:
    name = folder.parent.name
    return len(name), name  # card2 before card10


def _is_gpu(folder: Path) -> bool:
    """An AMD card bound to amdgpu (connectors such as card0-HDMI-A-1 have no vendor file)."""
    return line(folder / "vendor") == AMD and (folder / "mem_info_vram_total").exists()


class _Card:
    def __init__(self, folder: Path, index: int, driver: str) -> None:
        self._folder = folder
        self._sensors = next(iter(sorted(folder.glob("hwmon/hwmon*"))), folder)
        self._fixed: dict[str, Any] = {
            "index": index,
            "uuid": line(folder / "unique_id"),
            "name": line(folder / "product_name") or "AMD GPU",
            "vendor": "amd",
            "driver": driver,
            "memory": number(folder / "mem_info_vram_total"),
            "power_limit": scaled(self._sensors / "power1_cap", _MICRO),
        }

    def read(self) -> Gpu:
        power = scaled(self._sensors / "power1_average", _MICRO)
        if power is None:  # newer cards have only the momentary power
            power = scaled(self._sensors / "power1_input", _MICRO)
        return Gpu(
            **self._fixed,
            use=scaled(self._folder / "gpu_busy_percent", 0.01),
            memory_used=number(self._folder / "mem_info_vram_used"),
            temperature=scaled(self._sensors / "temp1_input", _MILLI),
            power=power,
            clock=scaled(self._sensors / "freq1_input", _MICRO),
        )
