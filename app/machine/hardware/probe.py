"""Readings of this machine, put together from what each part of it tells."""

import threading
from typing import Protocol

from app.machine.hardware.amd import AmdGpus
from app.machine.hardware.nvidia import NvidiaGpus
from app.machine.hardware.processor import Processor
from app.machine.hardware.readings import Reading


class Probe(Protocol):
    """Where readings come from."""

    def read(self) -> Reading:
        """The machine now. Called in a thread, by one caller at a time."""

    def close(self) -> None:
        """Let go of the driver. May be called twice."""


class SystemProbe:
    """Readings of this machine: psutil, NVML where an NVIDIA driver is, sysfs where AMD's is."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._processor = Processor()
        self._nvidia, self._amd = NvidiaGpus(), AmdGpus()

    def read(self) -> Reading:
        """The machine now."""
        with self._guard:
            gpus = (*self._nvidia.read(), *self._amd.read())
            return Reading(cpu=self._processor.read(), gpus=gpus)

    def close(self) -> None:
        """Let go of the driver. May be called twice."""
        with self._guard:
            self._nvidia.close()
