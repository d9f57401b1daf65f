"""Sensors read only the conditions that terms need, of the training device."""

from pathlib import Path
from typing import Any

import pytest

from app.common.paths import Folders
from app.machine import question
from app.machine.hardware import Cpu, Gpu, Reading
from app.terms.sensors import sensors
from app.terms.sensors.sensors import Sensors
from app.terms.terms import Conditions, Terms

GPU = Gpu(index=0, uuid="GPU-1", name="H100", temperature=70.0, power=300.0, others_use=0.25)
CPU = Cpu(temperature=50.0, power=40.0, others_use=0.5)
ALL = Terms.model_validate(
    {
        "idle_minutes": 1,
        "mains_only": True,
        "unmetered_only": True,
        "programs": "blender",
        "max_temperature": 80,
        "max_monthly": 1,
        "max_disk": 1,
    }
)


class Hardware:
    def __init__(self) -> None:
        self.reads = 0
        self.closed = False

    def read(self) -> Reading:
        self.reads += 1
        return Reading(cpu=CPU, gpus=(GPU,))

    def close(self) -> None:
        self.closed = True


class Machine:
    """Fakes all questions; ``asked`` lists those that were asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: set[str] = set()
        self.since = 0.0
        # a thread may start late on a busy machine
        monkeypatch.setattr(question, "DEADLINE_SECONDS", 20.0)
        for name, value in {
            "idle_seconds": 90.0,
            "is_on_mains": True,
            "is_metered": False,
            "size_of": 1000,
        }.items():
            monkeypatch.setattr(sensors, name, self._answering(name, value))
        among = self._answering("programs", frozenset({"blender"}))
        monkeypatch.setattr(sensors.Programs, "among", among)
        self.hardware = Hardware()
        self.sensors = Sensors(
            probe=self.hardware, folders=Folders.under(folder), transferred=self._transferred
        )

    def _answering(self, name: str, value: Any) -> Any:
        def answer(*_: Any) -> Any:
            self.asked.add(name)
            return value

        return answer

    async def _transferred(self, since: float) -> int:
        self.since = since
        return 77


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


async def test_without_terms_nothing_is_asked(machine: Machine) -> None:
    found = await machine.sensors.look(Terms(), ("cpu",))
    assert found == Conditions(now=found.now)
    assert (machine.asked, machine.hardware.reads) == (set(), 0)


async def test_every_condition_is_read(machine: Machine) -> None:
    found = await machine.sensors.look(ALL, ("cpu",))
    assert found == Conditions(
        now=found.now,
        idle=90.0,
        on_mains=True,
        metered=False,
        programs=frozenset({"blender"}),
        temperature=50.0,
        power=40.0,
        others_use=0.5,
        month_bytes=77,
        disk=1000,
    )


async def test_month_begins_on_its_first_day(machine: Machine) -> None:
    found = await machine.sensors.look(Terms(max_monthly=1), ("cpu",))
    first = found.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert machine.since == first.timestamp()


@pytest.mark.parametrize(
    ("device", "temperature"), [("cpu", 50.0), ("cuda:0", 70.0), ("auto", 70.0), ("mps", None)]
)
async def test_figures_are_those_of_the_training_device(
    device: str, temperature: float | None, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = await machine.sensors.look(Terms(max_temperature=80), (device,))
    assert found.temperature == temperature


@pytest.mark.parametrize(
    ("devices", "temperature"), [(("cpu", "cuda:0"), 70.0), (("cpu", "cuda:7"), None)]
)
async def test_largest_figure_of_several_devices_counts(
    devices: tuple[str, ...],
    temperature: float | None,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = await machine.sensors.look(Terms(max_temperature=80), devices)
    assert found.temperature == temperature


async def test_close_closes_the_probe(machine: Machine) -> None:
    await machine.sensors.close()
    assert machine.hardware.closed
