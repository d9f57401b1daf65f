"""NVIDIA GPUs, read through the driver's library (NVML)."""

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

from app.machine.hardware.readings import Gpu

log = logging.getLogger(__name__)


class NvidiaGpus:
    """Loads NVML at the first reading. One thread at a time may use it."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._boards: list[_Board] = []
        self._tried = False

    def read(self) -> tuple[Gpu, ...]:
        """The current figures of every NVIDIA GPU; () without a driver."""
        nvml = self._driver()
        if nvml is None:
            return ()
        try:
            if len(self._boards) != nvml.nvmlDeviceGetCount():
                self._boards = _boards(nvml)
            return tuple(board.read() for board in self._boards)
        except nvml.NVMLError as error:  # the driver was updated, or a GPU fell off its bus
            log.warning("the NVIDIA driver can't be read: %s", error)
            self._nvml, self._boards, self._tried = None, [], False
            return ()

    def close(self) -> None:
        """Shut NVML down. May be called twice."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            nvml.nvmlShutdown()

    def _driver(self) -> Any:
        if self._tried:
            return self._nvml
        import pynvml

        self._tried = True
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            log.info("no NVIDIA driver: %s", error)
        else:
            self._nvml = pynvml
        return self._nvml


def _boards(nvml: Any) -> "list[_Board]":
    driver = {
        "driver": _text(_ask(nvml, nvml.nvmlSystemGetDriverVersion) or ""),
        "cuda": _cuda(_ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)),
    }
    return [_Board(nvml, index, driver) for index in range(nvml.nvmlDeviceGetCount())]


def _cuda(version: int | None) -> str:
    """NVML's number of a CUDA version as text: 12040 is 12.4."""
    return "" if version is None else f"{version // 1000}.{version % 1000 // 10}"


class _Board:
    """One GPU. Constant values are read once."""

    def __init__(self, nvml: Any, index: int, driver: dict[str, str]) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self._fixed: dict[str, Any] = {
            "index": index,
            "uuid": _text(nvml.nvmlDeviceGetUUID(self._handle)),
            "name": _text(nvml.nvmlDeviceGetName(self._handle)),
            "power_limit": _watts(self._ask("nvmlDeviceGetEnforcedPowerLimit")),
            "max_clock": self._ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            **driver,
        }
        self._last_samples = _microseconds()

    def read(self) -> Gpu:
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        use = self._ask("nvmlDeviceGetUtilizationRates")
        return Gpu(
            **self._fixed,
            use=None if use is None else use.gpu / 100,
            others_use=self._others_use(),
            memory=None if memory is None else int(memory.total),
            memory_used=None if memory is None else int(memory.used),
            others_memory=self._others_memory(),
            temperature=self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            power=_watts(self._ask("nvmlDeviceGetPowerUsage")),
            clock=self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
        )

    def _ask(self, question: str, *arguments: Any) -> Any:
        return _ask(self._nvml, getattr(self._nvml, question), self._handle, *arguments)

    def _others_memory(self) -> int | None:
        kinds = (
            self._ask("nvmlDeviceGetComputeRunningProcesses"),
            self._ask("nvmlDeviceGetGraphicsRunningProcesses"),
        )
        if None in kinds:
            return None
        taken = {one.pid: one.usedGpuMemory for kind in kinds for one in kind}
        others = [size for pid, size in taken.items() if _is_another(pid)]
        return None if None in others else sum(others)

    def _others_use(self) -> float | None:
        since, self._last_samples = self._last_samples, _microseconds()
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handle, since)
        except self._nvml.NVMLError_NotFound:
            return 0.0  # no process has used it since
        except self._nvml.NVMLError:
            return None
        return min(1.0, _use_of(samples, _is_another))


def _use_of(samples: Iterable[Any], counts: Callable[[int], bool]) -> float:
    """Total use by the processes that count, 0 to 1: the sum of each one's mean sample."""
    by_program = defaultdict(list)
    for sample in samples:
        by_program[sample.pid].append(sample.smUtil)
    return sum(fmean(uses) for pid, uses in by_program.items() if counts(pid)) / 100


def _is_another(pid: int) -> bool:
    """Whether a process belongs to another program.

    False for an unknown process id: in a container the driver reports the host's ids, so it may be
    one of ours.
    """
    import psutil

    try:
        return os.getpid() not in (pid, psutil.Process(pid).ppid())  # a trainer is our child
    except psutil.Error:
        return False


def _ask(nvml: Any, question: Any, *arguments: Any) -> Any:
    """The driver's answer; None for an error, since not every GPU supports every question."""
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _microseconds() -> int:
    """Microseconds since the epoch, the unit of the driver's sample times."""
    return time.time_ns() // 1000


def _text(value: "str | bytes") -> str:
    return value.decode() if isinstance(value, bytes) else value
