"""All that terms may ask of this machine, put together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from app.common.paths import Folders
from app.machine.hardware import Figures, Probe, Reading
from app.terms.schedule import LocalZone
from app.terms.sensors.idle import idle_seconds
from app.terms.sensors.machine import Programs, is_metered, is_on_mains, size_of
from app.terms.sensors.question import Question
from app.terms.terms import Conditions, Terms

T = TypeVar("T")

ZONE = LocalZone()

SLOW_SECONDS = 5.0
"""Between two looks at what changes slowly: the cable, the network, the traffic of a month."""

DISK_SECONDS = 60.0


class Sensors:
    """Asks the system only what the terms in force need, all at once and each with a deadline.

    probe: of the hardware; it is ours from now on. transferred: bytes of tensors since a time, in
    seconds since the epoch.
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
        """What the machine is like now. devices: that train, as torch names them."""
        now = datetime.now(ZONE)
        asks_device = terms.max_temperature or terms.max_power or terms.max_others_use
        idle, on_mains, metered, programs, reading, disk = await asyncio.gather(
            _if(terms.idle_minutes, self._idle.answer),
            _if(terms.mains_only, self._mains.answer),
            _if(terms.unmetered_only, self._metered.answer),
            _if(terms.programs, lambda: self._programs.answer(terms.programs)),
            _if(asks_device, self._hardware.answer),
            _if(terms.max_disk, lambda: self._disk.answer(*self._folders)),
        )
        figures = [_figures(reading, device) for device in devices]
        return Conditions(
            now=now,
            idle=idle,
            on_mains=on_mains,
            metered=metered,
            programs=programs,
            temperature=_most(each.temperature for each in figures),
            power=_most(each.power for each in figures),
            others_use=_most(each.others_use for each in figures),
            disk=disk,
            month_bytes=await self._this_month(now) if terms.max_monthly else None,
        )

    async def _this_month(self, now: datetime) -> int:
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return await self._transferred(first.timestamp())

    async def close(self) -> None:
        """Let go of the hardware. May be called twice."""
        await self._release.answer()


async def _if(asked: object, ask: Callable[[], Awaitable[T]]) -> T | None:
    return await ask() if asked else None


def _most(values: Iterable[float | None]) -> float | None:
    """None as well where one isn't known: it might be more."""
    known = list(values)
    return None if None in known else max(value for value in known if value is not None)


def _figures(reading: Reading | None, device: str) -> Figures:
    """Of the device that trains; ``auto`` is the first GPU, or the CPU."""
    if reading is None:
        return Figures()
    if gpu := reading.gpu_of(device):
        return gpu
    return reading.cpu if device in ("cpu", "auto") else Figures()
