"""All conditions of the machine that terms may ask for, read together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from app.common.paths import Folders
from app.machine.hardware import Figures, Probe, Reading
from app.machine.question import Question
from app.terms.schedule import LocalZone
from app.terms.sensors.idle import idle_seconds
from app.terms.sensors.machine import Programs, is_metered, is_on_mains, size_of
from app.terms.terms import Conditions, Terms

T = TypeVar("T")

ZONE = LocalZone()

SLOW_SECONDS = 5.0
"""Between two readings of the power supply and the network, which change slowly."""

DISK_SECONDS = 60.0
"""Between two measurements of the disk usage."""


class Sensors:
    """Reads the conditions that the current terms need, all at once and each with a deadline.

    probe: reads the hardware; `close` closes it. transferred: returns the bytes of tensors sent
    and received since a time in seconds since the epoch.
    """

    def __init__(
        self, *, probe: Probe, folders: Folders, transferred: Callable[[float], Awaitable[int]]
    ) -> None:
        self._folders = (folders.checkpoints(""), folders.cache)
        self._transferred = transferred
        self._idle = Question(idle_seconds)
        self._mains = Question(is_on_mains, every=SLOW_SECONDS)
        self._metered = Question(is_metered, every=SLOW_SECONDS)
        self._programs = Question(Programs().among)
        self._hardware = Question(probe.read)
        self._release = Question(probe.close)
        self._disk = Question(size_of, every=DISK_SECONDS)

    async def look(self, terms: Terms, devices: Sequence[str]) -> Conditions:
        """The conditions now. devices: torch's names of the training devices."""
        now = datetime.now(ZONE)
        asks_device = terms.max_temperature or terms.max_power or terms.max_others_use
        idle, on_mains, metered, programs, reading, disk = await asyncio.gather(
            _ask_if(terms.idle_minutes, self._idle.answer),
            _ask_if(terms.mains_only, self._mains.answer),
            _ask_if(terms.unmetered_only, self._metered.answer),
            _ask_if(terms.programs, lambda: self._programs.answer(terms.programs)),
            _ask_if(asks_device, self._hardware.answer),
            _ask_if(terms.max_disk, lambda: self._disk.answer(*self._folders)),
        )
        figures = [_figures(reading, device) for device in devices]
        return Conditions(
            now=now,
            idle=idle,
            on_mains=on_mains,
            metered=metered,
            programs=programs,
            temperature=_largest(each.temperature for each in figures),
            power=_largest(each.power for each in figures),
            others_use=_largest(each.others_use for each in figures),
            disk=disk,
            month_bytes=await self._this_month(now) if terms.max_monthly else None,
        )

    async def _this_month(self, now: datetime) -> int:
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return await self._transferred(first.timestamp())

    async def close(self) -> None:
        """Close the hardware probe. May be called twice."""
        await self._release.answer()


async def _ask_if(asked: object, ask: Callable[[], Awaitable[T]]) -> T | None:
    return await ask() if asked else None


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest value; None when one is unknown, since it might be the largest."""
    known = list(values)
    return None if None in known else max(value for value in known if value is not None)


def _figures(reading: Reading | None, device: str) -> Figures:
    """The figures of a training device; ``auto`` is the first GPU, or else the CPU."""
    if reading is None:
        return Figures()
    if gpu := reading.gpu_of(device):
        return gpu
    return reading.cpu if device in ("cpu", "auto") else Figures()
