"""How much of a device's memory training may take: what is free and what the volunteer allows."""

import contextlib
from dataclasses import dataclass

import psutil
import torch

from app.common.errors import DeviceError
from app.common.i18n import _


@dataclass(frozen=True, kw_only=True)
class Room:
    """The memory of a GPU, or the machine's memory for any other device."""

    device: torch.device

    allowed: int = 0
    """Bytes that this trainer may take, 0 for all. Of the machine's memory, that of all the
    trainer's processes counts."""

    @property
    def free(self) -> int:
        """Bytes that training may still take."""
        free = self.available
        return min(free, self.allowed - self._taken()) if self.allowed else free

    @property
    def available(self) -> int:
        """Bytes that no program uses, even if fewer are allowed."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return int(psutil.virtual_memory().available)  # mps shares it

    def _taken(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.memory_reserved(self.device))
        own = psutil.Process()
        return sum(map(_memory_of, (own, *own.children(recursive=True))))

    def enforce(self) -> None:
        """Make torch refuse more than is allowed, where it can: on CUDA devices."""
        if self.allowed and self.device.type == "cuda":
            total = torch.cuda.get_device_properties(self.device).total_memory
            share = min(1.0, self.allowed / total)
            torch.cuda.set_per_process_memory_fraction(share, self.device)

    def not_allowed(self, needed: int) -> DeviceError:
        """The error for training that needs ``needed`` more bytes, more than are allowed."""
        text = _(
            "training takes {needed} more of the memory of {device}, but {free} are left of the"
            " {allowed} that you allow."
        )
        sizes = {"needed": needed, "free": max(0, self.free), "allowed": self.allowed}
        words = {name: gib(size) for name, size in sizes.items()}
        return DeviceError(
            text.format(device=self.device, **words),
            field="terms.max_memory",
            remedy=_("Allow more memory, or join a swarm with a smaller model."),
        )


def _memory_of(process: psutil.Process) -> int:
    """Bytes of a process: PSS, which divides a shared page among its processes, else USS."""
    with contextlib.suppress(psutil.Error):  # the process has ended
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.uss))
    return 0


def gib(size: int) -> str:
    """A size for the user, such as ``1,234.5 GiB``."""
    return f"{size / 2**30:,.1f} GiB"
