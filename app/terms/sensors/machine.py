"""Power, network, programs and disk, as far as terms ask for them."""

import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from app.terms.sensors import dbus

YOUNG_SECONDS = 5.0
"""Long enough for a shell to become the program that it starts."""

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


class Programs:
    """Which programs run. A process is asked for its name only while it is young: later it has
    it for good, and asking all of them costs a file each. For one thread at a time."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, float]] = {}  # and until when it may change, by its id

    def among(self, wanted: Iterable[str]) -> frozenset[str]:
        """Those of the wanted ones that run now; case and ``.exe`` don't matter."""
        now = time.monotonic()
        young = (None, now + YOUNG_SECONDS if self._names else now)  # not those before us
        found = {}
        for pid in psutil.pids():
            name, until = self._names.get(pid, young)
            found[pid] = _name_of(pid) if name is None or now < until else name, until
        self._names = found
        running = {name for name, _until in found.values()}
        return frozenset(name for name in wanted if _key(name) in running)


def _name_of(pid: int) -> str:
    try:
        return _key(psutil.Process(pid).name())
    except psutil.Error:  # it has ended
        return ""


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
