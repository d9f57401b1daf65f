"""The devices that torch can train on."""

import platform
from pathlib import Path

import torch

from app.errors import DeviceError
from app.i18n import _
from app.protocol import Device, Devices


def list_devices() -> Devices:
    """Every usable device, the CPU last."""
    return Devices(devices=(*_cuda(), *_mps(), _cpu()), torch_version=str(torch.__version__))


def choose(wanted: str) -> Device:
    """The device called ``wanted``, or for ``auto`` the first. Raises `DeviceError`."""
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
    if not torch.cuda.is_available():
        return ()
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(
        Device(id=f"cuda:{index}", name=each.name, memory=each.total_memory)
        for index, each in enumerate(properties)
    )


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
