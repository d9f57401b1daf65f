"""Sensor readings of this machine: processor, memory and GPUs, read without torch.

Callers use the names below; the modules for each vendor and for sysfs stay inside. A reading takes
some milliseconds, since drivers are called, so it belongs in a thread. An unknown figure is None,
never zero.
"""

from app.machine.hardware.adapters import Adapter, adapters
from app.machine.hardware.probe import Probe, SystemProbe
from app.machine.hardware.readings import Cpu, Figures, Gpu, Reading

__all__ = [
    "Adapter",
    "Cpu",
    "Figures",
    "Gpu",
    "Probe",
    "Reading",
    "SystemProbe",
    "adapters",
]
