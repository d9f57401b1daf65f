"""Energy from the kernel's counters: readable, wrapped around, forbidden."""

import time
from pathlib import Path

import pytest

from app.machine.energy import EnergyMeter, power_limit
from tests.support.machine.nvml import FakeNvml, rtx3080, rtx4090

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


def cpu(meter: EnergyMeter) -> float | None:
    return meter.take("cpu", "AMD Ryzen 7 5800X")


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
    assert meter.take("mps", "Apple M2") is None
    zone.set(9_000_000)
    assert cpu(meter) is None
    zone.set(10_000_000)
    assert cpu(meter) == pytest.approx(1.0)


def test_energy_of_a_missing_gpu_is_unknown() -> None:
    meter = EnergyMeter()
    assert [meter.take("cuda:0", "No such board") for _ in range(2)] == [None, None]


# --- what a device draws at most


def test_the_limit_of_a_cpu_is_that_of_its_packages(powercap: Path) -> None:
    assert power_limit("cpu", "any", powercap=powercap) is None
    for number, name, watts in (("0", "package-0", 65), ("1", "package-1", 95), ("0:0", "core", 9)):
        Zone(powercap, number, name).write("constraint_0_power_limit_uw", str(watts * 10**6))
    assert power_limit("cpu", "any", powercap=powercap) == 160.0


def test_a_limit_that_cannot_be_read_is_unknown(powercap: Path) -> None:
    Zone(powercap, "0", "package-0")
    assert power_limit("cpu", "any", powercap=powercap) is None
    assert power_limit("mps", "Apple GPU", powercap=powercap) is None


def test_the_limit_of_a_gpu_is_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    board, other = rtx4090(), rtx3080()
    FakeNvml(other, board).install(monkeypatch)
    assert power_limit("cuda:0", board.name) == board.limit / 1000
    assert power_limit("cuda:0", "No such board") is None
