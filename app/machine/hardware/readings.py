"""The figures of one reading of the machine, as frozen values."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one device at one moment; None when unknown."""

    use: float | None = None
    """Busy share of its capacity, 0 to 1."""

    others_use: float | None = None
    """The part of ``use`` that comes from programs other than this app and its trainers."""

    memory: int | None = None
    """Total bytes."""

    memory_used: int | None = None
    """Bytes in use by all programs."""

    others_memory: int | None = None
    """Bytes in use by programs other than this app and its trainers."""

    temperature: float | None = None
    """°C."""

    power: float | None = None
    """W."""

    power_limit: float | None = None
    """W; the device slows down to stay below it."""

    clock: float | None = None
    """Current clock of its cores, MHz."""

    max_clock: float | None = None
    """Highest clock of its cores, MHz."""


@dataclass(frozen=True, kw_only=True)
class Cpu(Figures):
    """The processor and the machine's memory; use and power are means since the last reading."""


@dataclass(frozen=True, kw_only=True)
class Gpu(Figures):
    """A GPU that has a driver."""

    index: int
    """Its number in the driver's order, among the GPUs of its vendor."""

    uuid: str
    """As the driver gives it; "" for none."""

    name: str
    vendor: Literal["nvidia", "amd"] = "nvidia"
    driver: str = ""
    """The driver's version."""

    cuda: str = ""
    """The newest CUDA version that the driver supports, such as ``12.4``; "" for AMD."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The figures of the whole machine at one moment."""

    cpu: Cpu = Cpu()
    gpus: tuple[Gpu, ...] = ()

    def gpu_of(self, device: str, *, visible: str | None = None) -> Gpu | None:
        """The GPU that torch calls ``device`` (``cuda:1``; ``auto`` is the first); None for no GPU.

        A build of torch supports one vendor and calls AMD's GPUs ``cuda`` too; on a machine with
        both vendors, NVIDIA's is assumed.

        visible: the value of ``CUDA_VISIBLE_DEVICES``, by default the environment's. It hides GPUs
        from torch and changes their order, but not the driver's.
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
    """Apply ``CUDA_VISIBLE_DEVICES`` as CUDA does.

    It lists indices or prefixes of UUIDs; the first invalid one ends the list.
    """
    found = []
    for part in (part.strip() for part in chosen.split(",")):
        fits = [gpu for gpu in gpus if part == str(gpu.index) or (part and _has_uuid(gpu, part))]
        if len(fits) != 1:
            break
        found.append(fits[0])
    return tuple(found)


def _has_uuid(gpu: Gpu, uuid: str) -> bool:
    return uuid.startswith("GPU-") and gpu.uuid.startswith(uuid)
