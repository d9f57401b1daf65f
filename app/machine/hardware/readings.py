"""One moment of a machine, as values."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a device does at one moment.

    use: 0 to 1; memory in bytes; temperature in °C; power, and the limit that the device keeps
    itself below, in W; clock of its cores, now and at most, in MHz. others_use, others_memory:
    what of it are programs that aren't this app or its trainers.
    """

    use: float | None = None
    others_use: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    others_memory: int | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    clock: float | None = None
    max_clock: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cpu(Figures):
    """The processor and the machine's memory. use: since the reading before."""


@dataclass(frozen=True, kw_only=True)
class Gpu(Figures):
    """A GPU that a driver knows.

    index: its place among all of its vendor's, in the order of the driver. uuid: "" where the
    driver has none. driver: its version; cuda: the newest CUDA that it speaks (``12.4``).
    """

    index: int
    uuid: str
    name: str
    vendor: Literal["nvidia", "amd"] = "nvidia"
    driver: str = ""
    cuda: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The machine at one moment."""

    cpu: Cpu = Cpu()
    gpus: tuple[Gpu, ...] = ()

    def gpu_of(self, device: str, *, visible: str | None = None) -> Gpu | None:
        """The GPU that torch calls ``device`` (``cuda:1``; ``auto`` is the first one); None for
        another kind of device. torch calls AMD's ``cuda`` too, and knows only one vendor's: where
        both are, it is taken to be NVIDIA's.

        visible: ``CUDA_VISIBLE_DEVICES``, from the environment unless said, by which torch
        counts differently from the driver.
        """
        kind, _, number = device.partition(":")
        if kind not in ("cuda", "auto"):
            return None
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        known = [gpu for gpu in self.gpus if gpu.vendor == self.gpus[0].vendor]
        seen = known if chosen is None else _visible(known, chosen)
        place = int(number or 0)
        return seen[place] if place < len(seen) else None


def _visible(gpus: Sequence[Gpu], chosen: str) -> tuple[Gpu, ...]:
    """As CUDA reads its variable: indices or the beginnings of UUIDs, up to the first wrong one."""
    found = []
    for part in (part.strip() for part in chosen.split(",")):
        fits = [gpu for gpu in gpus if part == str(gpu.index) or (part and _is(gpu, part))]
        if len(fits) != 1:
            break
        found.append(fits[0])
    return tuple(found)


def _is(gpu: Gpu, uuid: str) -> bool:
    return uuid.startswith("GPU-") and gpu.uuid.startswith(uuid)
