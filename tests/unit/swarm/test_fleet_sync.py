"""This machine's own record: what it tells, and what it keeps to itself."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import protocol
from app.machine.hardware import Cpu, Gpu, Reading
from app.settings.settings import Settings
from app.state.facts import Problem
from app.state.history import History
from app.state.state import ContributorState, OwnTraining, Phase
from app.state.store import Store
from app.swarm.fleet_sync import FleetSync, record_of
from tests.support.machine.machines import RecordedProbe

GPU = Gpu(
    index=0,
    uuid="GPU-1",
    name="RTX 4090",
    use=0.9,
    memory=24,
    memory_used=18,
    temperature=64.0,
    power=200.0,
)
READING = Reading(cpu=Cpu(use=0.2, memory=64, memory_used=20), gpus=(GPU,))
OWN = OwnTraining(
    device="cuda:0",
    device_name="NVIDIA GeForce RTX 4090",
    peer_id="trainer",
    epoch=3,
    loss=2.5,
    samples_per_second=80.0,
    tokens_per_second=900.0,
    bytes_sent=5_000,
    training_seconds=100.0,
    waiting_seconds=25.0,
)


def test_training_machine_tells_its_figures() -> None:
    state = ContributorState(phase=Phase.TRAINING, peer_id="app", training=OWN)
    told = record_of(state, READING, sequence=1, time=1.0)
    assert told.device == "NVIDIA GeForce RTX 4090"
    assert told.peer_ids == ("app", "trainer")
    assert (told.state, told.epoch, told.loss, told.samples_per_second) == ("training", 3, 2.5, 80)
    assert (told.gpu_use, told.temperature, told.power) == (0.9, 64.0, 200.0)
    assert (told.cpu_use, told.memory, told.memory_used) == (0.2, 64, 20)
    assert (told.computing, told.bytes_sent) == (0.75, 5_000)


def test_paused_machine_gives_nothing_now() -> None:
    state = ContributorState(phase=Phase.PAUSED, training=OWN)
    told = record_of(state, READING, sequence=1, time=1.0)
    assert (told.samples_per_second, told.tokens_per_second, told.loss) == (None, None, 2.5)


def test_watching_machine_names_the_chosen_device() -> None:
    cpu = protocol.Device(id="cpu", name="Ryzen", memory=1)
    probed = protocol.Devices(devices=(cpu,), torch_version="2")
    state = ContributorState(phase=Phase.WATCHING, probed=probed, device="cpu")
    told = record_of(state, READING, sequence=1, time=1.0)
    assert (told.device, told.temperature, told.epoch) == ("Ryzen", None, None)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("can't read /home/alice/data.txt: gone", "can't read …: gone"),
        ("can't read '/home/alice/my data': gone", "can't read '… data': gone"),
        ("can't read C:\\Users\\alice\\x: gone", "can't read …: gone"),
        ("see ~/notes.", "see …"),
        ("3 of 4 samples/s are lost", "3 of 4 samples/s are lost"),
    ],
)
def test_no_path_leaves_this_machine(message: str, told: str) -> None:
    state = ContributorState(problem=Problem(message=message))
    assert record_of(state, READING, sequence=1, time=1.0).last_error == told


def machines(folder: Path, probe: RecordedProbe, **chosen: object) -> FleetSync:
    settings = Settings.model_construct(**chosen)  # type: ignore[arg-type]
    return FleetSync(
        Store(settings=settings, state=ContributorState()),
        membership=SimpleNamespace(node=None),  # type: ignore[arg-type]
        history=History(),
        key_file=folder / "machine.pem",
        probe=probe,
    )


async def test_alias_is_made_up_unless_chosen(tmp_path: Path) -> None:
    nameless = machines(tmp_path, RecordedProbe([READING]))
    key = await nameless._load_key()
    assert nameless.alias.startswith("machine-")
    again = machines(tmp_path, RecordedProbe([READING]))
    assert (await again._load_key()).public_key == key.public_key
    assert again.alias == nameless.alias
    named = machines(tmp_path, RecordedProbe([READING]), alias="lab-01")
    await named._load_key()
    assert named.alias == "lab-01"


async def test_sequence_rises_even_if_the_clock_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = machines(tmp_path, RecordedProbe([READING]))
    monkeypatch.setattr("time.time", lambda: 5.0)
    sequences = [ours._record(READING, None).sequence for _ in range(3)]
    assert sequences == [5000, 5001, 5002]


async def test_outside_of_a_swarm_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.swarm.fleet_sync.PUBLISH_SECONDS", 0.0)
    probe = RecordedProbe([READING])
    ours = machines(tmp_path, probe)
    ours.open()
    watching = ours.watch()
    for _ in range(20):
        await asyncio.sleep(0)
    watching.close()
    await ours.leave()
    await ours.close()
    await ours.close()
    assert (probe.reads, probe.closed, len(ours.fleet)) == (0, True, 0)
