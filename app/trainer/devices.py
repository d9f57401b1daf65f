"""The devices that torch can train on: found and chosen."""

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.protocol import Device, Devices


def list_devices() -> Devices:
    """All usable devices, the CPU last, and the GPUs that this build of torch can't use."""
    gpus, built_for = _cuda(), tuple(torch.cuda.get_arch_list())
    return Devices(
        devices=(*(gpu for gpu in gpus if _runs_on(gpu, built_for)), *_mps(), _cpu()),
        unusable=tuple(gpu for gpu in gpus if not _runs_on(gpu, built_for)),
        architectures=built_for,
        torch_version=str(torch.__version__),
        cuda=torch.version.cuda or "",
        hip=torch.version.hip or "",
    )


def choose(wanted: str) -> Device:
    """The device with the id ``wanted``, or the first one for ``auto``. Raises `DeviceError`."""
    devices = list_devices().devices
    if wanted == "auto":
        return devices[0]
    for device in devices:
        if device.id == wanted:
            return device
    message = _("torch {version} can't use '{device}' on this machine.")
    names = ", ".join(device.id for device in devices)
    raise DeviceError(
        message.format(version=torch.__version__, device=wanted),
        field="device",
        remedy=_("Choose one of {names}.").format(names=names),
    )


def _cuda() -> tuple[Device, ...]:
    """NVIDIA's GPUs, or AMD's where torch was built for AMD."""
    if not torch.cuda.is_available():
        return ()
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(
        Device(
            id=f"cuda:{index}",
            name=each.name,
            memory=each.total_memory,
            uuid=_uuid(each),
            architecture=_architecture(each),
        )
        for index, each in enumerate(properties)
    )


def _uuid(properties: Any) -> str:
    """The UUID as NVML writes it; "" for AMD, whose UUIDs have another form."""
    return "" if torch.version.hip else f"GPU-{properties.uuid}"


def _architecture(properties: Any) -> str:
    if torch.version.hip:
        return str(properties.gcnArchName).partition(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def _runs_on(gpu: Device, built_for: Sequence[str]) -> bool:
    """Whether torch has code for a GPU.

    Machine code (``sm_…``) runs on GPUs of its major version that are not older; PTX
    (``compute_…``) runs on all GPUs that are not older.
    """
    if gpu.architecture in built_for:
        return True
    own = _version(gpu.architecture)
    return own is not None and any(
        (found := _version(each)) is not None
        and found <= own
        and (each.startswith("compute") or found[0] == own[0])
        for each in built_for
    )


def _version(architecture: str) -> tuple[int, int] | None:
    """The version in an NVIDIA name: (8, 9) for ``sm_89``; None for AMD's names."""
    found = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)[a-z]?", architecture)
    return (int(found[1]), int(found[2])) if found else None


def _mps() -> tuple[Device, ...]:
    if not torch.backends.mps.is_available():
        return ()
    return (Device(id="mps", name="Apple GPU", memory=torch.mps.recommended_max_memory()),)


def _cpu() -> Device:
    import psutil

    return Device(id="cpu", name=_cpu_name(), memory=psutil.virtual_memory().total)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
