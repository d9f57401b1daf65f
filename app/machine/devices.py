"""This machine's devices, as someone chooses among them: what each is and does now, which is the
best, and why one can't be used."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.common.background import Background
from app.common.i18n import _
from app.common.subscription import Subscription, subscribed
from app.machine.hardware import Adapter, Figures, Gpu, Probe, Reading, SystemProbe, adapters
from app.protocol import Device, Devices

WATCH_SECONDS = 1.0

Kind = Literal["nvidia", "amd", "apple", "cpu"]

_MAKERS: dict[Kind, str] = {"nvidia": "NVIDIA", "amd": "AMD"}
_OLDEST_DRIVER = {11: "450.80", 12: "525.60", 13: "580.65"}
"""NVIDIA's on Linux, by CUDA's major version: each works with all of its minor ones."""


@dataclass(frozen=True, kw_only=True)
class DeviceEntry:
    """A device. id: as torch names it, "" where it can't train. driver: its version.

    problem: why it can't, and remedy: what helps. recommended: why it is the best, "" for all
    but one.
    """

    id: str
    name: str
    kind: Kind
    memory: int = 0
    driver: str = ""
    figures: Figures = field(default_factory=Figures)
    problem: str = ""
    remedy: str = ""
    recommended: str = ""

    @property
    def usable(self) -> bool:
        """torch can train on it."""
        return bool(self.id)


def entries(
    probed: Devices, reading: Reading, *, on_bus: Sequence[Adapter] = (), hidden: bool | None = None
) -> tuple[DeviceEntry, ...]:
    """Every device of the machine: those that torch can use, then GPUs that it can't.

    on_bus: GPUs that are there, with or without a driver. hidden: ``CUDA_VISIBLE_DEVICES`` keeps
    some from torch; by the environment unless said.
    """
    if hidden is None:
        hidden = "CUDA_VISIBLE_DEVICES" in os.environ
    found = {device: _gpu_of(device, probed, reading) for device in probed.devices}
    usable = _with_best([_usable(device, gpu, reading) for device, gpu in found.items()])
    idle = [gpu for gpu in reading.gpus if gpu not in found.values()]
    known = {gpu.vendor for gpu in reading.gpus}
    return (
        *usable,
        *(_unusable(gpu, probed, hidden=hidden) for gpu in idle),
        *(_without_driver(one) for one in on_bus if one.vendor not in known),
    )


def _gpu_of(device: Device, probed: Devices, reading: Reading) -> Gpu | None:
    """What a driver calls a device of torch's."""
    if not device.id.startswith("cuda"):
        return None
    vendor = "amd" if probed.hip else "nvidia"
    own = replace(reading, gpus=tuple(gpu for gpu in reading.gpus if gpu.vendor == vendor))
    by_uuid = (gpu for gpu in own.gpus if device.uuid and gpu.uuid == device.uuid)
    return next(by_uuid, None) or own.gpu_of(device.id)


def _usable(device: Device, gpu: Gpu | None, reading: Reading) -> DeviceEntry:
    kind: Kind = "cpu" if device.id == "cpu" else "apple" if device.id == "mps" else "nvidia"
    figures = reading.cpu if kind == "cpu" else Figures()
    entry = DeviceEntry(
        id=device.id, name=device.name, kind=kind, memory=device.memory, figures=figures
    )
    return entry if gpu is None else replace(entry, kind=gpu.vendor, driver=gpu.driver, figures=gpu)


# --- the best


def _with_best(usable: Sequence[DeviceEntry]) -> Iterable[DeviceEntry]:
    gpus = [entry for entry in usable if entry.kind != "cpu"]
    best = max(gpus or usable, key=_free_memory, default=None)
    why = _why_best(len(gpus))
    return (replace(each, recommended=why) if each is best else each for each in usable)


def _free_memory(entry: DeviceEntry) -> int:
    return entry.memory - (entry.figures.others_memory or 0)


def _why_best(gpus: int) -> str:
    if gpus > 1:
        return _("of the GPUs it has the most free memory")
    return _("a GPU trains many times faster than a CPU") if gpus else _("no GPU can be used")


# --- what is wrong


def _unusable(gpu: Gpu, probed: Devices, *, hidden: bool) -> DeviceEntry:
    problem, remedy = _problem(gpu, probed, hidden=hidden)
    return DeviceEntry(
        id="",
        name=gpu.name,
        kind=gpu.vendor,
        memory=gpu.memory or 0,
        driver=gpu.driver,
        figures=gpu,
        problem=problem,
        remedy=remedy,
    )


def _problem(gpu: Gpu, probed: Devices, *, hidden: bool) -> tuple[str, str]:
    """Why torch can't train on a GPU that its driver knows, and what helps."""
    if not probed.torch_version:
        return _("PyTorch could not be asked."), _("The log says why.")
    built_with = probed.hip if gpu.vendor == "amd" else probed.cuda
    if not built_with:
        return _other_build(gpu, probed)
    seen = next((one for one in probed.unusable if one.uuid == gpu.uuid), None)
    if seen is not None:
        return _other_architecture(seen, probed)
    if gpu.cuda and _major(gpu.cuda) < _major(built_with):
        return _old_driver(gpu, probed)
    if hidden:
        name = "CUDA_VISIBLE_DEVICES"
        problem = _("The environment variable {name} hides it.").format(name=name)
        return problem, _("Start the app without it.")
    return _("PyTorch doesn't find it."), _("Restart the machine if its driver was just updated.")


def _other_build(gpu: Gpu, probed: Devices) -> tuple[str, str]:
    platform = "ROCm" if gpu.vendor == "amd" else "CUDA"
    problem = _("PyTorch {version} is installed in a build without {platform}.").format(
        version=probed.torch_version, platform=platform
    )
    most = gpu.cuda and _("{platform} {version} or older").format(
        platform=platform, version=gpu.cuda
    )
    remedy = _("Install the build for {platform}, as pytorch.org/get-started shows.")
    return problem, remedy.format(platform=most or platform)


def _other_architecture(seen: Device, probed: Devices) -> tuple[str, str]:
    problem = _("PyTorch {version} is not built for GPUs of its generation, {name}.").format(
        version=probed.torch_version, name=seen.architecture
    )
    known = ", ".join(probed.architectures)
    return problem, _("It is built for {names}. An older PyTorch may know it.").format(names=known)


def _old_driver(gpu: Gpu, probed: Devices) -> tuple[str, str]:
    problem = _("Its driver {driver} is too old for this PyTorch, which needs CUDA {cuda}.").format(
        driver=gpu.driver, cuda=probed.cuda
    )
    oldest = _OLDEST_DRIVER.get(_major(probed.cuda))
    if oldest is None:
        return problem, _("Update NVIDIA's driver.")
    return problem, _("Update NVIDIA's driver to {version} or newer.").format(version=oldest)


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _without_driver(adapter: Adapter) -> DeviceEntry:
    maker = _MAKERS[adapter.vendor]
    problem = _("There is no driver for it.")
    if adapter.driver:
        problem = _("Its driver, {name}, can't compute.").format(name=adapter.driver)
    return DeviceEntry(
        id="",
        name=_("{maker} GPU").format(maker=maker),
        kind=adapter.vendor,
        problem=problem,
        remedy=_("Install {maker}'s own driver and restart the machine.").format(maker=maker),
    )


# --- live


class DeviceWatch:
    """Reads the hardware once a second while someone looks, and not at all otherwise."""

    def __init__(self, probe: Probe | None = None) -> None:
        self._probe = probe or SystemProbe()
        self._listeners: list[Callable[[Reading], None]] = []
        self._background = Background()
        self._reading: asyncio.Task[None] | None = None
        self.on_bus: tuple[Adapter, ...] = ()
        self.newest = Reading()

    def watch(self, listener: Callable[[Reading], None]) -> Subscription:
        """Call ``listener`` with each reading, on the loop's thread."""
        subscription = subscribed(self._listeners, listener)
        if self._reading is None:
            self._reading = self._background.start(self._read_while_watched())
        return subscription

    async def _read_while_watched(self) -> None:
        try:
            self.on_bus = self.on_bus or await asyncio.to_thread(adapters)
            while self._listeners:
                self.newest = await asyncio.to_thread(self._probe.read)
                for listener in tuple(self._listeners):
                    listener(self.newest)
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            self._reading = None

    async def close(self) -> None:
        """End reading, and let go of the drivers. May be called twice."""
        await self._background.close()
        await asyncio.to_thread(self._probe.close)
