"""The GPUs on the PCI bus, with or without a driver that can compute."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.machine.hardware.sysfs import SYS, line

Vendor = Literal["nvidia", "amd"]

_VENDORS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd"}
_DISPLAY = "0x03"  # PCI class of display controllers


@dataclass(frozen=True)
class Adapter:
    """A GPU on the bus."""

    vendor: Vendor
    driver: str
    """The kernel driver bound to it, such as ``nouveau``; "" for none."""


def adapters(sys: Path = SYS) -> tuple[Adapter, ...]:
    """The NVIDIA and AMD GPUs on the bus; () on systems without sysfs."""
    return tuple(
        Adapter(_VENDORS[vendor], driver.resolve().name if driver.exists() else "")
        for folder in sorted(sys.glob("bus/pci/devices/*"))
        if (vendor := line(folder / "vendor")) in _VENDORS
        and line(folder / "class").startswith(_DISPLAY)
        for driver in [folder / "driver"]
    )
