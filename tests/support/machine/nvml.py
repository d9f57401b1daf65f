"""NVML at the interface of the module `pynvml`.

The boards answer what their kind can, with made-up figures in its range: an RTX 4090 under load,
an RTX 3080 that shows a desktop, and a Tesla K80, so old that it knows little of itself.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

MIB = 2**20


class NVMLError(Exception):
    pass


class NVMLError_NotFound(NVMLError):  # noqa: N801, N818
    pass


@dataclass(kw_only=True)
class Board:
    """None stands for what the board doesn't support. uses: of programs, percent by process id;
    taken: their memory."""

    uuid: str
    name: str
    total: int
    used: int
    gpu: int | None = 0
    temperature: int | None = 40
    power: int | None = 20_000
    limit: int | None = 450_000
    clock: int | None = 210
    max_clock: int | None = 2520
    energy: int | None = 0
    uses: dict[int, int] | None = field(default_factory=dict)
    taken: dict[int, int] | None = field(default_factory=dict)


def rtx4090(**changes: Any) -> Board:
    return Board(
        **{
            "uuid": "GPU-4b2c7f3e-51a2-4d7c-9a53-0f0e5d3b1a90",
            "name": "NVIDIA GeForce RTX 4090",
            "total": 24_564 * MIB,
            "used": 18_190 * MIB,
            "gpu": 97,
            "temperature": 68,
            "power": 318_420,
            "clock": 2_475,
        }
        | changes
    )


def rtx3080(**changes: Any) -> Board:
    return Board(
        **{
            "uuid": "GPU-9d1e2a44-0c1b-4f6f-8a0e-6b1a2f3c4d5e",
            "name": "NVIDIA GeForce RTX 3080",
            "total": 10_240 * MIB,
            "used": 812 * MIB,
            "gpu": 4,
            "limit": 320_000,
            "max_clock": 2_100,
        }
        | changes
    )


def tesla_k80() -> Board:
    return Board(
        uuid="GPU-0a6e4a53-77aa-1d2c-c0f6-2f21bd6a5bd1",
        name="Tesla K80",
        total=11_441 * MIB,
        used=0,
        gpu=None,
        power=None,
        limit=None,
        uses=None,
        taken=None,
    )


class FakeNvml:
    """Stands for the module. gone: the driver answers nothing any more."""

    NVMLError = NVMLError
    NVMLError_NotFound = NVMLError_NotFound
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, *boards: Board, driver: str = "550.54.14", cuda: int = 12040) -> None:
        self.boards = list(boards)
        self.driver, self.cuda = driver, cuda
        self.gone = False
        self.calls: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeNvml":
        monkeypatch.setitem(sys.modules, "pynvml", self)
        return self

    def _check(self) -> None:
        if self.gone:
            raise NVMLError("GPU is lost")

    def nvmlInit(self) -> None:
        self.calls.append("init")
        self._check()

    def nvmlShutdown(self) -> None:
        self.calls.append("shutdown")

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        self._check()
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Board:
        return self.boards[index]

    def nvmlDeviceGetUUID(self, board: Board) -> str:
        return board.uuid

    def nvmlDeviceGetName(self, board: Board) -> bytes:
        return board.name.encode()

    def nvmlDeviceGetMemoryInfo(self, board: Board) -> Any:
        return SimpleNamespace(total=board.total, used=board.used, free=board.total - board.used)

    def nvmlDeviceGetUtilizationRates(self, board: Board) -> Any:
        return SimpleNamespace(gpu=_known(board.gpu), memory=0)

    def nvmlDeviceGetTemperature(self, board: Board, _sensor: int) -> int:
        return _known(board.temperature)

    def nvmlDeviceGetPowerUsage(self, board: Board) -> int:
        return _known(board.power)

    def nvmlDeviceGetEnforcedPowerLimit(self, board: Board) -> int:
        return _known(board.limit)

    def nvmlDeviceGetTotalEnergyConsumption(self, board: Board) -> int:
        return _known(board.energy)

    def nvmlDeviceGetClockInfo(self, board: Board, _kind: int) -> int:
        return _known(board.clock)

    def nvmlDeviceGetMaxClockInfo(self, board: Board, _kind: int) -> int:
        return _known(board.max_clock)

    def nvmlDeviceGetComputeRunningProcesses(self, board: Board) -> Sequence[Any]:
        taken = board.taken
        if taken is None:
            raise NVMLError("not supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in taken.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, board: Board) -> Sequence[Any]:
        return self.nvmlDeviceGetComputeRunningProcesses(board)[:1]  # some are both

    def nvmlDeviceGetProcessUtilization(self, board: Board, _since: int) -> Sequence[Any]:
        if board.uses is None:
            raise NVMLError("not supported")
        if not board.uses:
            raise NVMLError_NotFound("no program")
        return [
            SimpleNamespace(pid=pid, smUtil=use + change)
            for pid, use in board.uses.items()
            for change in (-1, 1)
        ]


def _known(figure: int | None) -> int:
    if figure is None:
        raise NVMLError("not supported")
    return figure
