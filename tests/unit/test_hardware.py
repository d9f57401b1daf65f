"""What the machine has: by psutil, by a driver, and by what CUDA shows of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.hardware import Gpu, Reading, SystemProbe

FIRST = Gpu(index=0, uuid="GPU-aaa1", name="RTX 4090")
SECOND = Gpu(index=1, uuid="GPU-aab2", name="RTX 3080")
BOTH = Reading(gpus=(FIRST, SECOND))


@pytest.mark.parametrize(
    ("device", "visible", "gpu"),
    [
        ("cuda:0", None, FIRST),
        ("cuda:1", None, SECOND),
        ("cuda:2", None, None),
        ("cuda", None, FIRST),
        ("auto", None, FIRST),
        ("cpu", None, None),
        ("mps", None, None),
        ("cuda:0", "1", SECOND),
        ("cuda:1", "1,0", FIRST),
        ("cuda:1", "1", None),
        ("cuda:0", "", None),
        ("cuda:0", "-1", None),
        ("cuda:0", "GPU-aab", SECOND),
        ("cuda:0", "GPU-aa", None),  # of two
        ("cuda:1", "0,7,1", None),  # CUDA stops at the first that isn't there
    ],
)
def test_which_gpu_torch_means(
    device: str, visible: str | None, gpu: Gpu | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert BOTH.gpu_of(device, visible=visible) is gpu


def test_visible_devices_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert BOTH.gpu_of("cuda:0") is SECOND


def test_this_machine_has_memory_and_a_processor() -> None:
    probe = SystemProbe()
    reading = probe.read()
    probe.close()
    probe.close()
    assert reading.memory is not None
    assert reading.memory_used is not None
    assert 0 < reading.memory_used < reading.memory
    assert reading.cpu_use is not None
    assert 0 <= reading.cpu_use <= 1


class Driver:
    """NVML at the same interface, with one GPU that doesn't know its power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.gone = False
        self.calls: list[str] = []

    def nvmlInit(self) -> None:
        self.calls.append("init")
        if self.gone:
            raise self.NVMLError("no driver")

    def nvmlShutdown(self) -> None:
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        if self.gone:
            raise self.NVMLError("GPU is lost")
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, _handle: int) -> str:
        return "GPU-1"

    def nvmlDeviceGetName(self, _handle: int) -> bytes:
        return b"Tesla K80"

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> Any:
        return SimpleNamespace(total=12, used=3)

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> Any:
        return SimpleNamespace(gpu=50)

    def nvmlDeviceGetTemperature(self, _handle: int, _kind: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:
        raise self.NVMLError("not supported")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(__import__("sys").modules, "pynvml", made)
    return made


def test_gpu_that_knows_all_but_its_power(driver: Driver) -> None:
    probe = SystemProbe()
    (gpu,) = probe.read().gpus
    assert gpu == Gpu(
        index=0,
        uuid="GPU-1",
        name="Tesla K80",
        use=0.5,
        memory=12,
        memory_used=3,
        temperature=61,
        power=None,
    )
    probe.read()
    probe.close()
    assert driver.calls == ["init", "shutdown"]


def test_driver_that_goes_away_and_comes_back(driver: Driver) -> None:
    probe = SystemProbe()
    probe.read()
    driver.gone = True
    assert probe.read().gpus == ()
    driver.gone = False
    assert len(probe.read().gpus) == 1


def test_no_driver_is_asked_for_once(driver: Driver) -> None:
    driver.gone = True
    probe = SystemProbe()
    assert probe.read().gpus == probe.read().gpus == ()
    assert driver.calls == ["init"]
