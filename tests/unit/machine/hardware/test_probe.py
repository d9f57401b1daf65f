"""Readings of the machine through psutil, NVML and sysfs, and torch's names of its GPUs."""

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.machine.hardware import Adapter, Gpu, Reading, SystemProbe, adapters
from app.machine.hardware.amd import AmdGpus
from app.machine.hardware.processor import Processor
from tests.support.machine.nvml import MIB, Board, FakeNvml, rtx3080, rtx4090, tesla_k80

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
        ("cuda:0", "GPU-aa", None),  # the prefix fits two GPUs
        ("cuda:1", "0,7,1", None),  # CUDA stops at the first invalid one
    ],
)
def test_torch_name_finds_the_drivers_gpu(
    device: str, visible: str | None, gpu: Gpu | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert BOTH.gpu_of(device, visible=visible) is gpu


def test_visible_devices_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert BOTH.gpu_of("cuda:0") is SECOND


def test_amd_gpu_is_found_without_nvidia() -> None:
    amd = Gpu(index=0, uuid="", name="RX 7900 XTX", vendor="amd")
    assert Reading(gpus=(amd,)).gpu_of("cuda:0") is amd
    assert Reading(gpus=(FIRST, amd)).gpu_of("cuda:1") is None


# --- NVIDIA


def read_gpus() -> tuple[Gpu, ...]:
    probe = SystemProbe()
    gpus = probe.read().gpus
    probe.close()
    return gpus


def test_gpu_that_supports_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(rtx4090()).install(monkeypatch)
    assert read_gpus() == (
        Gpu(
            index=0,
            uuid="GPU-4b2c7f3e-51a2-4d7c-9a53-0f0e5d3b1a90",
            name="NVIDIA GeForce RTX 4090",
            driver="550.54.14",
            cuda="12.4",
            use=0.97,
            others_use=0.0,
            memory=24_564 * MIB,
            memory_used=18_190 * MIB,
            others_memory=0,
            temperature=68,
            power=318.42,
            power_limit=450.0,
            clock=2475,
            max_clock=2520,
        ),
    )


def test_figures_that_an_old_gpu_lacks_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(rtx3080(), tesla_k80()).install(monkeypatch)
    _, old = read_gpus()
    assert (old.index, old.name, old.memory_used) == (1, "Tesla K80", 0)
    unknown = (old.use, old.power, old.power_limit, old.others_use, old.others_memory)
    assert unknown == (None,) * 5


def others(board: Board, monkeypatch: pytest.MonkeyPatch) -> tuple[float | None, int | None]:
    FakeNvml(board).install(monkeypatch)
    (gpu,) = read_gpus()
    return gpu.others_use, gpu.others_memory


def test_use_and_memory_of_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    another, nobody = os.getppid(), 2**22 + 1  # an unknown process id, as in a container
    assert not psutil.pid_exists(nobody)
    uses = {os.getpid(): 60, another: 30, nobody: 5}
    taken = {another: 300 * MIB, os.getpid(): 9000 * MIB}
    found = others(rtx4090(uses=uses, taken=taken), monkeypatch)
    assert found == (pytest.approx(0.3), 300 * MIB)


def test_memory_that_the_driver_hides_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    board = rtx4090(taken={os.getppid(): None})
    assert others(board, monkeypatch) == (0.0, None)


def test_driver_is_loaded_once_and_shut_down_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, probe = FakeNvml(rtx4090()).install(monkeypatch), SystemProbe()
    probe.read()
    probe.read()
    probe.close()
    probe.close()
    assert driver.calls == ["init", "shutdown"]


def test_driver_is_loaded_again_after_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, probe = FakeNvml(rtx4090()).install(monkeypatch), SystemProbe()
    probe.read()
    driver.gone = True
    assert probe.read().gpus == ()
    driver.gone = False
    assert len(probe.read().gpus) == 1


def test_gpu_that_is_added_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, probe = FakeNvml(rtx4090()).install(monkeypatch), SystemProbe()
    probe.read()
    driver.boards.append(rtx3080())
    assert [gpu.index for gpu in probe.read().gpus] == [0, 1]


def test_missing_driver_is_looked_for_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, probe = FakeNvml().install(monkeypatch), SystemProbe()
    driver.gone = True
    assert probe.read().gpus == probe.read().gpus == ()
    assert driver.calls == ["init"]


# --- AMD, and what the kernel shows


def write(folder: Path, **files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def card(sys: Path, number: int, **files: Any) -> Path:
    device = sys / "class" / "drm" / f"card{number}" / "device"
    fixed = {"vendor": "0x1002", "mem_info_vram_total": 24 * 2**30}
    write(device, **fixed | {"mem_info_vram_used": 2**30, "gpu_busy_percent": 93} | files)
    return device / "hwmon" / "hwmon3"


def test_amd_card_is_read_from_sysfs(tmp_path: Path) -> None:
    write(tmp_path / "module" / "amdgpu", version="6.7.0")
    sensors = card(tmp_path, 1, product_name="Radeon RX 7900 XTX", unique_id="ab12")
    write(sensors, temp1_input=61_000, power1_average=289_000_000, power1_cap=339_000_000)
    write(sensors, freq1_input=2_482_000_000)
    assert AmdGpus(tmp_path).read() == (
        Gpu(
            index=0,
            uuid="ab12",
            name="Radeon RX 7900 XTX",
            vendor="amd",
            driver="6.7.0",
            use=pytest.approx(0.93),
            memory=24 * 2**30,
            memory_used=2**30,
            temperature=pytest.approx(61),
            power=pytest.approx(289),
            power_limit=pytest.approx(339),
            clock=pytest.approx(2482),
        ),
    )


def test_only_amd_cards_in_numerical_order(tmp_path: Path) -> None:
    for number in (10, 2):
        card(tmp_path, number, unique_id=number)
    write(tmp_path / "class" / "drm" / "card0" / "device", vendor="0x8086")  # Intel's
    write(tmp_path / "class" / "drm" / "card2-DP-1", status="connected")
    assert [gpu.uuid for gpu in AmdGpus(tmp_path).read()] == ["2", "10"]


def test_figures_that_a_sleeping_card_lacks_are_none(tmp_path: Path) -> None:
    write(card(tmp_path, 0, gpu_busy_percent=""), power1_input=12_000_000)
    (gpu,) = AmdGpus(tmp_path).read()
    assert (gpu.use, gpu.temperature, gpu.name) == (None, None, "AMD GPU")
    assert gpu.power == pytest.approx(12)


def test_adapters_finds_gpus_on_the_bus(tmp_path: Path) -> None:
    bus = tmp_path / "bus" / "pci" / "devices"
    write(bus / "0000:01:00.0", vendor="0x10de", **{"class": "0x030000"})
    write(bus / "0000:01:00.1", vendor="0x10de", **{"class": "0x040300"})  # its sound
    write(bus / "0000:02:00.0", vendor="0x1002", **{"class": "0x038000"})
    write(tmp_path / "drivers" / "amdgpu")
    (bus / "0000:02:00.0" / "driver").symlink_to(tmp_path / "drivers" / "amdgpu")
    assert adapters(tmp_path) == (Adapter("nvidia", ""), Adapter("amd", "amdgpu"))


# --- the processor


def test_this_machine_has_memory_and_a_processor() -> None:
    probe = SystemProbe()
    first = probe.read().cpu
    burn(0.05)
    cpu = probe.read().cpu
    probe.close()
    assert first.use is None
    assert cpu.memory is not None
    assert cpu.memory_used is not None
    assert 0 < cpu.memory_used < cpu.memory
    assert cpu.use is not None
    assert cpu.others_use is not None
    assert 0 <= cpu.others_use < cpu.use <= 1


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_cpu_time_doesnt_fall_when_a_child_ends() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with closing(SystemProbe()) as probe, child:
        assert child.stdout is not None
        child.stdout.readline()
        probe.read()
        child.communicate(b"\n")
        burn(0.05)
        cpu = probe.read().cpu
    assert cpu.use is not None
    assert cpu.others_use is not None
    assert cpu.others_use < cpu.use


def test_temperature_and_power_of_the_processor(tmp_path: Path) -> None:
    hwmon, package = tmp_path / "class" / "hwmon", tmp_path / "powercap" / "intel-rapl:0"
    write(hwmon / "hwmon0", name="nvme", temp1_input=35_000)
    write(hwmon / "hwmon1", name="k10temp", temp1_input=62_500)
    write(package, name="package-0", energy_uj=1_000_000, max_energy_range_uj=2**40)
    processor = Processor(sys=tmp_path, powercap=tmp_path / "powercap")
    assert processor.read().power is None
    write(package, energy_uj=9_000_000)
    cpu = processor.read()
    assert cpu.temperature == pytest.approx(62.5)
    assert cpu.power is not None
    assert cpu.power > 0
    (package / "energy_uj").unlink()
    assert processor.read().power is None
