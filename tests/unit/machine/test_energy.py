"""Energy from the kernel's counters: readable, wrapped around, forbidden."""

import time
from pathlib import Path

import pytest

from app.machine.energy import EnergyMeter, power_limit
from app.protocol import Device
from tests.support.machine.nvml import Board, FakeNvml, rtx3080, rtx4090

RANGE = 262_143_328_850


class Zone:
    """A RAPL zone in a temporary folder."""

    def __init__(self, folder: Path, number: str, name: str) -> None:
        self.folder = folder / f"intel-rapl:{number}"
        self.folder.mkdir()
        self.write("name", name)
        self.write("max_energy_range_uj", str(RANGE))
        self.write("energy_uj", "1000000")

    def write(self, file: str, content: str) -> None:
        (self.folder / file).write_text(f"{content}\n")

    def set(self, microjoules: int) -> None:
        self.write("energy_uj", str(microjoules))


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    folder = tmp_path / "powercap"
    folder.mkdir()
    return folder


CPU = Device(id="cpu", name="AMD Ryzen 7 5800X", memory=0)
APPLE = Device(id="mps", name="Apple M2", memory=0)
MISSING = Device(id="cuda:0", name="No such board", memory=0)


def gpu(board: Board, index: int = 0, *, uuid: str = "") -> Device:
    return Device(id=f"cuda:{index}", name=board.name, memory=0, uuid=uuid)


def cpu(meter: EnergyMeter) -> float | None:
    return meter.take((CPU,))


def test_joules_are_counted_from_the_first_call_on(powercap: Path) -> None:
    zone = Zone(powercap, "0", "package-0")
    meter = EnergyMeter(powercap)
    assert cpu(meter) is None
    zone.set(3_500_000)
    assert cpu(meter) == pytest.approx(2.5)
    assert cpu(meter) == pytest.approx(0.0)


def test_power_is_the_mean_between_two_readings(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    zone = Zone(powercap, "0", "package-0")
    meter = EnergyMeter(powercap)
    cpu(meter)
    assert meter.power is None
    clock[0] += 5
    zone.set(501_000_000)
    cpu(meter)
    assert meter.power == pytest.approx(100.0)
    clock[0] += 0.01  # a counter that moved on just then would be a thousand watts
    zone.set(511_000_000)
    assert cpu(meter) == pytest.approx(10.0)
    assert meter.power == pytest.approx(100.0)
    (zone.folder / "energy_uj").unlink()
    cpu(meter)
    assert meter.power is None


def test_counter_that_wraps_around_loses_nothing(powercap: Path) -> None:
    zone = Zone(powercap, "0", "package-0")
    zone.set(RANGE - 1_000_000)
    meter = EnergyMeter(powercap)
    cpu(meter)
    zone.set(2_000_000)
    assert cpu(meter) == pytest.approx(3.0, abs=1e-4)


def test_all_packages_count_and_their_sub_zones_do_not(powercap: Path) -> None:
    zones = [
        Zone(powercap, number, name)
        for number, name in (
            ("0", "package-0"),
            ("0:0", "core"),
            ("1", "package-1"),
            ("2", "psys"),
        )
    ]
    meter = EnergyMeter(powercap)
    cpu(meter)
    for zone in zones:
        zone.set(2_000_000)
    assert cpu(meter) == pytest.approx(2.0)


def test_without_counters_energy_is_unknown(powercap: Path) -> None:
    meter = EnergyMeter(powercap / "none")
    assert [cpu(meter), cpu(meter)] == [None, None]


@pytest.mark.parametrize("content", ["", "many"])
def test_malformed_counter_makes_energy_unknown(powercap: Path, content: str) -> None:
    zone = Zone(powercap, "0", "package-0")
    meter = EnergyMeter(powercap)
    cpu(meter)
    zone.write("energy_uj", content)
    assert [cpu(meter), cpu(meter)] == [None, None]


def test_unreadable_counter_makes_energy_unknown(powercap: Path) -> None:
    zone = Zone(powercap, "0", "package-0")
    (zone.folder / "energy_uj").unlink()
    (zone.folder / "energy_uj").mkdir()  # root may read any file, but no folder
    meter = EnergyMeter(powercap)
    assert [cpu(meter), cpu(meter)] == [None, None]


def test_another_device_starts_a_new_measurement(powercap: Path) -> None:
    zone = Zone(powercap, "0", "package-0")
    meter = EnergyMeter(powercap)
    cpu(meter)
    assert meter.take((APPLE,)) is None
    zone.set(9_000_000)
    assert cpu(meter) is None
    zone.set(10_000_000)
    assert cpu(meter) == pytest.approx(1.0)


def test_energy_of_a_missing_gpu_is_unknown() -> None:
    meter = EnergyMeter()
    assert [meter.take((MISSING,)) for _ in range(2)] == [None, None]


# --- what a device draws at most


def test_the_limit_of_a_cpu_is_that_of_its_packages(powercap: Path) -> None:
    assert power_limit((CPU,), powercap=powercap) is None
    for number, name, watts in (("0", "package-0", 65), ("1", "package-1", 95), ("0:0", "core", 9)):
        Zone(powercap, number, name).write("constraint_0_power_limit_uw", str(watts * 10**6))
    assert power_limit((CPU,), powercap=powercap) == 160.0


def test_a_limit_that_cannot_be_read_is_unknown(powercap: Path) -> None:
    Zone(powercap, "0", "package-0")
    assert power_limit((CPU,), powercap=powercap) is None
    assert power_limit((APPLE,), powercap=powercap) is None


def test_the_limit_of_a_gpu_is_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    board, other = rtx4090(), rtx3080()
    FakeNvml(other, board).install(monkeypatch)
    assert power_limit((gpu(board),)) == board.limit / 1000
    assert power_limit((MISSING,)) is None


def test_gpus_of_one_name_are_told_apart_and_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = rtx4090(), rtx4090()
    two.uuid, two.limit = "GPU-2", 300_000
    FakeNvml(two, one).install(monkeypatch)
    assert one.limit is not None
    first, second = gpu(one, uuid=one.uuid), gpu(two, 1, uuid=two.uuid)
    assert power_limit((second,)) == 300.0
    assert power_limit((first, second)) == one.limit / 1000 + 300.0
    assert power_limit((gpu(one),)) is None  # it may be either
    assert power_limit((first, MISSING)) is None  # a part would pass for the whole


def test_the_energy_of_several_devices_is_their_sum(
    monkeypatch: pytest.MonkeyPatch, powercap: Path
) -> None:
    board, zone = rtx4090(), Zone(powercap, "0", "package-0")
    FakeNvml(board).install(monkeypatch)
    meter, both = EnergyMeter(powercap), (gpu(board, uuid=board.uuid), CPU)
    board.energy = 5_000
    assert meter.take(both) is None
    board.energy = 7_000
    zone.set(4_000_000)
    assert meter.take(both) == pytest.approx(5.0)
    assert meter.take((*both, MISSING)) is None
    assert meter.take((*both, MISSING)) is None
