"""Power, network, programs and disk, as far as terms ask for them."""

from collections.abc import Iterable
from pathlib import Path

import psutil

from app.sensors import dbus

METERED = frozenset({1, 3})
"""NetworkManager's words for yes, and for what it guesses to be a yes."""


def is_on_mains() -> bool | None:
    """The power cable is in; also without a battery. None when the battery doesn't know."""
    battery = psutil.sensors_battery()
    return True if battery is None else battery.power_plugged


def is_metered() -> bool:
    """The connection costs by volume, as NetworkManager knows or guesses. Raises as
    `dbus.get` does."""
    manager = "org.freedesktop.NetworkManager"
    path = "/org/freedesktop/NetworkManager"
    return dbus.get("SYSTEM", manager, path, manager, "Metered") in METERED


def running(wanted: Iterable[str]) -> frozenset[str]:
    """Which of these programs run now; case and ``.exe`` don't matter."""
    by_key = {_key(name): name for name in wanted}
    names = (process.info["name"] or "" for process in psutil.process_iter(["name"]))
    return frozenset(by_key[key] for key in map(_key, names) if key in by_key)


def _key(name: str) -> str:
    return name.lower().removesuffix(".exe")


def size_of(*folders: Path) -> int:
    """Bytes that the files below take on the disk. Files that vanish meanwhile don't count."""
    return sum(_taken(file) for folder in folders for file in folder.rglob("*"))


def _taken(file: Path) -> int:
    try:
        status = file.lstat()
    except OSError:
        return 0
    return status.st_blocks * 512
