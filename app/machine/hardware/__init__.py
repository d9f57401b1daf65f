"""What this machine has and how it does now: processor, memory and GPUs, without torch.

`SystemProbe` is what the app asks; reading may take some milliseconds (a driver answers), so it
runs in a thread. A figure that can't be had is None, never zero.
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
