"""Which devices the user can choose, which is recommended, and why others can't be used."""

import asyncio
from dataclasses import replace

import pytest

from app.machine import devices, question
from app.machine.devices import DeviceEntry, DeviceWatch, entries
from app.machine.hardware import Adapter, Cpu, Gpu, Reading
from app.protocol import Device, Devices
from tests.support.machine.machines import HangingProbe, RecordedProbe

CPU = Device(id="cpu", name="AMD Ryzen 7 5800X", memory=32 * 2**30)
BIG = Gpu(
    index=0,
    uuid="GPU-big",
    name="RTX 4090",
    memory=24 * 2**30,
    use=0.5,
    driver="550.54",
    cuda="12.4",
)
SMALL = Gpu(
    index=1, uuid="GPU-small", name="RTX 3080", memory=10 * 2**30, driver="550.54", cuda="12.4"
)
AMD = Gpu(index=0, uuid="", name="AMD GPU", vendor="amd", memory=24 * 2**30, driver="6.7.0")


def seen(gpu: Gpu, place: int) -> Device:
    return Device(
        id=f"cuda:{place}",
        name=f"NVIDIA {gpu.name}",
        memory=gpu.memory or 0,
        uuid=gpu.uuid,
        architecture="sm_89",
    )


def probed(*found: Device, cuda: str = "12.6", hip: str = "", **changes: object) -> Devices:
    return Devices(
        **{
            "devices": (*found, CPU),
            "torch_version": "2.9.1",
            "cuda": cuda,
            "hip": hip,
            "architectures": ("sm_75", "sm_90"),
        }
        | changes  # type: ignore[arg-type]
    )


def only_unusable(known: Devices, *gpus: Gpu, hidden: bool = False) -> DeviceEntry:
    (found,) = (e for e in entries(known, Reading(gpus=gpus), hidden=hidden) if not e.usable)
    return found


def test_gpu_is_matched_by_uuid_when_torch_and_driver_count_differently() -> None:
    reading = Reading(cpu=Cpu(use=0.1), gpus=(BIG, SMALL))
    first, second, cpu = entries(probed(seen(SMALL, 0), seen(BIG, 1)), reading)
    assert (first.figures, second.figures, cpu.figures) == (SMALL, BIG, reading.cpu)
    assert (first.id, first.name, first.driver) == ("cuda:0", "NVIDIA RTX 3080", "550.54")
    assert [each.kind for each in (first, second, cpu)] == ["nvidia", "nvidia", "cpu"]


def test_amd_gpu_is_matched_by_rocms_order() -> None:
    known = probed(Device(id="cuda:0", name="RX 7900 XTX", memory=2**30), cuda="", hip="6.4")
    nvidia, amd = BIG, AMD
    first, _, other = entries(known, Reading(gpus=(nvidia, amd)))
    assert (first.kind, first.name, first.figures) == ("amd", "RX 7900 XTX", amd)
    assert other.problem == "PyTorch 2.9.1 is installed in a build without CUDA."


def test_device_without_a_drivers_reading() -> None:
    known = probed(Device(id="mps", name="Apple GPU", memory=2**30), cuda="")
    mps, _ = entries(known, Reading())
    assert (mps.kind, mps.figures.use, mps.usable) == ("apple", None, True)


# --- the best


def recommended(*gpus: Gpu) -> dict[str, str]:
    known = probed(*(seen(gpu, gpu.index) for gpu in gpus))
    return {e.id: e.recommended for e in entries(known, Reading(gpus=gpus)) if e.recommended}


def test_gpu_with_most_free_memory_is_recommended() -> None:
    why = "of the GPUs it has the most free memory"
    assert recommended(BIG, SMALL) == {"cuda:0": why}
    taken = replace(BIG, others_memory=20 * 2**30)
    assert recommended(taken, SMALL) == {"cuda:1": why}


def test_single_gpu_or_else_the_cpu_is_recommended() -> None:
    assert recommended(BIG) == {"cuda:0": "a GPU trains many times faster than a CPU"}
    assert recommended() == {"cpu": "no GPU can be used"}


# --- what is wrong


def test_torch_build_without_cuda_is_explained() -> None:
    found = only_unusable(probed(cuda=""), BIG)
    assert found.problem == "PyTorch 2.9.1 is installed in a build without CUDA."
    assert found.remedy == (
        "Install the build for CUDA 12.4 or older, as pytorch.org/get-started shows."
    )
    assert (found.name, found.memory, found.figures) == ("RTX 4090", BIG.memory, BIG)


def test_torch_build_without_rocm_is_explained() -> None:
    found = only_unusable(probed(), AMD)
    assert found.remedy == "Install the build for ROCm, as pytorch.org/get-started shows."


@pytest.mark.parametrize(
    ("cuda", "remedy"),
    [
        ("13.0", "Update NVIDIA's driver to 580.65 or newer."),
        ("14.1", "Update NVIDIA's driver."),
    ],
)
def test_driver_too_old_is_explained(cuda: str, remedy: str) -> None:
    found = only_unusable(probed(cuda=cuda), BIG)
    assert "driver 550.54 is too old" in found.problem
    assert found.remedy == remedy


def test_driver_isnt_blamed_for_a_newer_cuda_minor_version() -> None:
    assert only_unusable(probed(cuda="12.9"), BIG).problem == "PyTorch doesn't find it."


def test_unsupported_gpu_generation_is_explained() -> None:
    old = replace(SMALL, name="Tesla K80")
    unknown = Device(id="cuda:0", name="K80", memory=1, uuid=old.uuid, architecture="sm_37")
    found = only_unusable(probed(unusable=(unknown,)), old)
    assert found.problem == "PyTorch 2.9.1 is not built for GPUs of its generation, sm_37."
    assert found.remedy == "It is built for sm_75, sm_90. An older PyTorch may know it."


def test_gpu_hidden_by_the_environment_is_explained() -> None:
    found = only_unusable(probed(seen(SMALL, 0)), BIG, SMALL, hidden=True)
    assert found.problem == "The environment variable CUDA_VISIBLE_DEVICES hides it."


def test_torch_that_did_not_answer_is_explained() -> None:
    nothing = Devices(devices=(), torch_version="")
    assert only_unusable(nothing, BIG).problem == "PyTorch did not answer."


def test_gpus_without_a_driver_are_listed() -> None:
    on_bus = (Adapter("nvidia", "nouveau"), Adapter("amd", ""))
    _, nvidia, amd = entries(probed(), Reading(), on_bus=on_bus)
    assert nvidia.problem == "Its driver, nouveau, can't compute."
    assert (amd.name, amd.problem) == ("AMD GPU", "There is no driver for it.")
    assert amd.remedy == "Install AMD's own driver and restart the machine."
    _, known = entries(probed(), Reading(gpus=(BIG,)), on_bus=on_bus[:1])
    assert known.name == "RTX 4090"


# --- live


async def test_hardware_is_read_only_while_there_is_a_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "WATCH_SECONDS", 0)
    probe, seen_ = RecordedProbe([Reading(), Reading(gpus=(BIG,))]), asyncio.Queue[Reading]()
    watch = DeviceWatch(probe)
    assert probe.reads == 0
    watching = watch.watch(seen_.put_nowait)
    assert [await seen_.get(), await seen_.get()] == [Reading(), Reading(gpus=(BIG,))]
    watching.close()
    assert watch._reading is not None
    await watch._reading
    read = probe.reads
    again = watch.watch(seen_.put_nowait)
    while probe.reads == read:
        await seen_.get()
    again.close()
    await watch.close()
    await watch.close()
    assert probe.closed


async def test_a_driver_that_hangs_is_waited_for_neither_while_reading_nor_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "WATCH_SECONDS", 0)
    monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)
    driver, seen_ = HangingProbe(), list[Reading]()
    watch = DeviceWatch(driver)
    watching = watch.watch(seen_.append)
    async with asyncio.timeout(10):
        await asyncio.to_thread(driver.asked.wait)
        await watch.close()
    watching.close()
    assert (seen_, driver.calls) == ([], 2)  # one that reads, one that closes
    driver.may_answer.set()
