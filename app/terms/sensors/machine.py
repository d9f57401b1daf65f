"""Power supply, metered connection, running programs and disk usage."""

import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from app.terms.sensors import dbus

YOUNG_SECONDS = 5.0
"""For so long after a process appeared, its name is read again: a shell may exec a program."""

METERED = frozenset({1, 3})
"""NetworkManager's values for "yes" and "guess: yes"."""


def is_on_mains() -> bool | None:
    """Whether mains power is connected; True without a battery, None when unknown."""
    battery = psutil.sensors_battery()
    return True if battery is None else battery.power_plugged


def is_metered() -> bool:
    """Whether NetworkManager knows or guesses that the connection is paid by volume.

    Raises the same exceptions as `dbus.get`.
    """
    manager = "org.freedesktop.NetworkManager"
    path = "/org/freedesktop/NetworkManager"
    return dbus.get("SYSTEM", manager, path, manager, "Metered") in METERED


class Programs:
    """Finds running programs by name. One thread at a time may use it.

    The names of processes are cached, since reading one costs a file. Only a process younger than
    `YOUNG_SECONDS` is read again.
    """

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, float]] = {}
        """From a process id to its name and the monotonic time until which it may change."""

    def among(self, wanted: Iterable[str]) -> frozenset[str]:
        """Which of the wanted programs run now; case and ``.exe`` don't matter."""
        now = time.monotonic()
        young = (None, now + YOUNG_SECONDS if self._names else now)  # older than we are: not young
        found = {}
        for pid in psutil.pids():
            name, until = self._names.get(pid, young)
            found[pid] = _name_of(pid) if name is None or now < until else name, until
        self._names = found
        running = {name for name, _until in found.values()}
        return frozenset(name for name in wanted if _normalized(name) in running)


def _name_of(pid: int) -> str:
    try:
        return _normalized(psutil.Process(pid).name())
    except psutil.Error:  # it has ended
        return ""


def _normalized(name: str) -> str:
    return name.lower().removesuffix(".exe")


def size_of(*folders: Path) -> int:
    """Bytes on the disk of all files below these folders, without files that vanish meanwhile."""
    return sum(_disk_bytes(file) for folder in folders for file in folder.rglob("*"))


def _disk_bytes(file: Path) -> int:
    try:
        status = file.lstat()
    except OSError:
        return 0
    return status.st_blocks * 512
