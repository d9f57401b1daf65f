"""Readings of the whole machine, combined from processor, NVIDIA and AMD."""

import threading
from typing import Protocol

from app.machine.hardware.amd import AmdGpus
from app.machine.hardware.nvidia import NvidiaGpus
from app.machine.hardware.processor import Processor
from app.machine.hardware.readings import Reading


class Probe(Protocol):
    """A source of readings: the system, or a fake in tests."""

    def read(self) -> Reading:
        """A reading of the machine now. Called in a thread, by one caller at a time."""

    def close(self) -> None:
        """Close the driver. May be called twice."""


class SystemProbe:
    """Reads this machine through psutil, NVML (NVIDIA) and sysfs (AMD). Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._processor = Processor()
        self._nvidia, self._amd = NvidiaGpus(), AmdGpus()

    def read(self) -> Reading:
        """A reading of the machine now."""
        with self._guard:
            gpus = (*self._nvidia.read(), *self._amd.read())
            return Reading(cpu=self._processor.read(), gpus=gpus)

    def close(self) -> None:
        """Close the driver. May be called twice."""
        with self._guard:
            self._nvidia.close()
