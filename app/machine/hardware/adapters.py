"""The GPUs on the machine's bus, whether a driver for computing knows them or not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.machine.hardware.sysfs import SYS, line

Vendor = Literal["nvidia", "amd"]

_VENDORS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd"}
_DISPLAY = "0x03"  # the class of display controllers


@dataclass(frozen=True)
class Adapter:
    """A GPU. driver: the kernel's for it, "" when it has none."""

    vendor: Vendor
    driver: str


def adapters(sys: Path = SYS) -> tuple[Adapter, ...]:
    """All of NVIDIA's and AMD's, as far as the system tells (Linux)."""
    return tuple(
        Adapter(_VENDORS[vendor], driver.resolve().name if driver.exists() else "")
        for folder in sorted(sys.glob("bus/pci/devices/*"))
        if (vendor := line(folder / "vendor")) in _VENDORS
        and line(folder / "class").startswith(_DISPLAY)
        for driver in [folder / "driver"]
    )
