"""The devices from which the user chooses: their figures, the recommended one, and why a GPU can't
be used."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.common.background import Background
from app.common.i18n import _
from app.common.subscription import Subscription, subscribed
from app.machine.hardware import Adapter, Figures, Gpu, Probe, Reading, SystemProbe, adapters
from app.machine.question import Question
from app.protocol import Device, Devices

WATCH_SECONDS = 1.0
"""Between two readings while somebody watches."""

Kind = Literal["nvidia", "amd", "apple", "cpu"]

_MAKERS: dict[Kind, str] = {"nvidia": "NVIDIA", "amd": "AMD"}
_OLDEST_DRIVER = {11: "450.80", 12: "525.60", 13: "580.65"}
"""From CUDA's major version to the oldest NVIDIA driver (Linux) for all its minor versions."""


@dataclass(frozen=True, kw_only=True)
class DeviceEntry:
    """A CPU or GPU of this machine, usable for training or not."""

    id: str
    """Torch's name for it, such as ``cuda:0``; "" when it can't train."""

    name: str
    kind: Kind
    memory: int = 0
    """Total bytes; 0 when unknown."""

    driver: str = ""
    """The driver's version."""

    figures: Figures = field(default_factory=Figures)
    """Its newest reading."""

    problem: str = ""
    """Why it can't train; "" when it can."""

    remedy: str = ""
    """What the user can do about the problem."""

    recommended: str = ""
    """Why this device is the best one; "" for all others."""

    @property
    def usable(self) -> bool:
        """Torch can train on it."""
        return bool(self.id)


def entries(
    probed: Devices, reading: Reading, *, on_bus: Sequence[Adapter] = (), hidden: bool | None = None
) -> tuple[DeviceEntry, ...]:
    """Every device of the machine: those that torch can use, then the GPUs that it can't.

    probed: what torch reported. reading: what the drivers report. on_bus: GPUs on the PCI bus,
    with or without a driver. hidden: whether ``CUDA_VISIBLE_DEVICES`` hides some from torch; by
    default, whether it is set.
    """
    if hidden is None:
        hidden = "CUDA_VISIBLE_DEVICES" in os.environ
    found = {device: _gpu_of(device, probed, reading) for device in probed.devices}
    usable = _with_recommendation([_usable(device, gpu, reading) for device, gpu in found.items()])
    idle = [gpu for gpu in reading.gpus if gpu not in found.values()]
    known = {gpu.vendor for gpu in reading.gpus}
    return (
        *usable,
        *(_unusable(gpu, probed, hidden=hidden) for gpu in idle),
        *(_without_driver(one) for one in on_bus if one.vendor not in known),
    )


def _gpu_of(device: Device, probed: Devices, reading: Reading) -> Gpu | None:
    """The driver's reading of a torch device: by UUID, or else by torch's index."""
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


# --- the recommended device


def _with_recommendation(usable: Sequence[DeviceEntry]) -> Iterable[DeviceEntry]:
    gpus = [entry for entry in usable if entry.kind != "cpu"]
    best = max(gpus or usable, key=_free_memory, default=None)
    why = _recommendation(len(gpus))
    return (replace(each, recommended=why) if each is best else each for each in usable)


def _free_memory(entry: DeviceEntry) -> int:
    return entry.memory - (entry.figures.others_memory or 0)


def _recommendation(gpus: int) -> str:
    if gpus > 1:
        return _("of the GPUs it has the most free memory")
    return _("a GPU trains many times faster than a CPU") if gpus else _("no GPU can be used")


# --- why a GPU can't be used


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
    """Why torch can't train on a GPU that has a driver, and the remedy."""
    if not probed.torch_version:
        return _("PyTorch did not answer."), _("The log says why.")
    built_with = probed.hip if gpu.vendor == "amd" else probed.cuda
    if not built_with:
        return _wrong_build(gpu, probed)
    seen = next((one for one in probed.unusable if one.uuid == gpu.uuid), None)
    if seen is not None:
        return _unsupported_architecture(seen, probed)
    if gpu.cuda and _major(gpu.cuda) < _major(built_with):
        return _old_driver(gpu, probed)
    if hidden:
        name = "CUDA_VISIBLE_DEVICES"
        problem = _("The environment variable {name} hides it.").format(name=name)
        return problem, _("Start the app without it.")
    return _("PyTorch doesn't find it."), _("Restart the machine if its driver was just updated.")


def _wrong_build(gpu: Gpu, probed: Devices) -> tuple[str, str]:
    platform = "ROCm" if gpu.vendor == "amd" else "CUDA"
    problem = _("PyTorch {version} is installed in a build without {platform}.").format(
        version=probed.torch_version, platform=platform
    )
    most = gpu.cuda and _("{platform} {version} or older").format(
        platform=platform, version=gpu.cuda
    )
    remedy = _("Install the build for {platform}, as pytorch.org/get-started shows.")
    return problem, remedy.format(platform=most or platform)


def _unsupported_architecture(seen: Device, probed: Devices) -> tuple[str, str]:
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


# --- live readings


class DeviceWatch:
    """Reads the hardware once a second while there is at least one listener.

    ``newest`` is the last reading; ``on_bus`` the GPUs on the PCI bus, () before the first one.
    """

    def __init__(self, probe: Probe | None = None) -> None:
        probe = probe or SystemProbe()
        self._hardware, self._release = Question(probe.read), Question(probe.close)
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
                reading = await self._hardware.answer()
                if reading is not None:  # else the driver hangs: there is nothing new
                    self.newest = reading
                    for listener in tuple(self._listeners):
                        listener(reading)
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            self._reading = None

    async def close(self) -> None:
        """Stop reading and close the drivers. May be called twice."""
        await self._background.close()
        await self._release.answer()
