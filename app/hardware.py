"""What this machine has and how it does now: processor, memory and GPUs, without torch.

`Probe` is what the app asks; reading may take some milliseconds (a driver answers), so it runs
in a thread. A figure that can't be had is None, never zero.
"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU at one moment. use: 0 to 1; memory in bytes; temperature in °C; power in W.

    index: its place among all of the machine's, in the order of the driver.
    """

    index: int
    uuid: str
    name: str
    use: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    temperature: float | None = None
    power: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The machine at one moment. cpu_use: 0 to 1, since the reading before; memory in bytes."""

    cpu_use: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    gpus: tuple[Gpu, ...] = ()

    def gpu_of(self, device: str, *, visible: str | None = None) -> Gpu | None:
        """The GPU that torch calls ``device`` (``cuda:1``; ``auto`` is the first one); None for
        another kind of device.

        visible: ``CUDA_VISIBLE_DEVICES``, from the environment unless said, by which torch
        counts differently from the driver.
        """
        kind, _, number = device.partition(":")
        if kind not in ("cuda", "auto"):
            return None
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        seen = self.gpus if chosen is None else _visible(self.gpus, chosen)
        place = int(number or 0)
        return seen[place] if place < len(seen) else None


def _visible(gpus: Sequence[Gpu], chosen: str) -> tuple[Gpu, ...]:
    """As CUDA reads its variable: indices or the beginnings of UUIDs, up to the first wrong one."""
    found = []
    for part in (part.strip() for part in chosen.split(",")):
        fits = [gpu for gpu in gpus if part == str(gpu.index) or (part and _is(gpu, part))]
        if len(fits) != 1:
            break
        found.append(fits[0])
    return tuple(found)


def _is(gpu: Gpu, uuid: str) -> bool:
    return uuid.startswith("GPU-") and gpu.uuid.startswith(uuid)


class Probe(Protocol):
    """Where readings come from."""

    def read(self) -> Reading:
        """The machine now. Called in a thread, by one caller at a time."""

    def close(self) -> None:
        """Let go of the driver. May be called twice."""


class SystemProbe:
    """Readings of this machine: psutil, and NVML where an NVIDIA driver is."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._nvml: Any = None
        self._looked = False

    def read(self) -> Reading:
        """The machine now."""
        import psutil

        memory = psutil.virtual_memory()
        with self._guard:
            return Reading(
                cpu_use=psutil.cpu_percent() / 100,
                memory=memory.total,
                memory_used=memory.total - memory.available,
                gpus=self._gpus(),
            )

    def close(self) -> None:
        """Let go of the driver. May be called twice."""
        with self._guard:
            nvml, self._nvml = self._nvml, None
            if nvml is not None:
                nvml.nvmlShutdown()

    def _gpus(self) -> tuple[Gpu, ...]:
        nvml = self._driver()
        if nvml is None:
            return ()
        try:
            return tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        except nvml.NVMLError as error:  # the driver was updated, or a GPU fell off its bus
            log.warning("the NVIDIA driver can't be read: %s", error)
            self._nvml, self._looked = None, False
            return ()

    def _driver(self) -> Any:
        if self._looked:
            return self._nvml
        import pynvml

        self._looked = True
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            log.info("no NVIDIA driver: %s", error)
        else:
            self._nvml = pynvml
        return self._nvml


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    use = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    power = _ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    return Gpu(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        use=None if use is None else use.gpu / 100,
        memory=None if memory is None else int(memory.total),
        memory_used=None if memory is None else int(memory.used),
        temperature=_ask(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / 1000,
    )


def _ask(nvml: Any, question: Any, *arguments: Any) -> Any:
    """The driver's answer, or None: not every GPU knows its power or its use."""
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: "str | bytes") -> str:
    return value.decode() if isinstance(value, bytes) else value
