"""This machine's own record: what it tells, and what it keeps to itself."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import protocol
from app.machine import question
from app.machine.hardware import Cpu, Gpu, Probe, Reading
from app.settings.settings import Settings
from app.state.facts import Problem
from app.state.history import History
from app.state.state import ContributorState, OwnTraining, Phase
from app.state.store import Store
from app.swarm.fleet_sync import FleetSync, record_of
from tests.support.machine.machines import HangingProbe, RecordedProbe

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


def machines(folder: Path, probe: Probe, **chosen: object) -> FleetSync:
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


async def test_a_driver_that_hangs_takes_one_thread_however_often_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)
    driver = HangingProbe()
    ours = machines(tmp_path, driver)
    async with asyncio.timeout(10):
        told = await asyncio.gather(*(ours.reading() for _ in range(50)))
        assert await ours.reading() == Reading()
        await asyncio.to_thread(int)  # other work in threads goes on
        assert driver.calls == 1
        await ours.close()
    assert told == [Reading()] * 50
    driver.may_answer.set()


class SlowBoard:
    """A board whose reading takes as long as the test wants. reads: how many have begun."""

    def __init__(self) -> None:
        self.reads = 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def read(self, *_: object, **__: object) -> None:
        self.reads += 1
        self.begun.set()
        await self.may_end.wait()


async def test_callers_share_a_reading_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.swarm.fleet_sync.READ_SECONDS", -1.0)  # each finds it too old
    board, ours = SlowBoard(), machines(tmp_path, RecordedProbe([READING]))
    monkeypatch.setattr(ours, "_current_board", lambda: board)
    callers = [asyncio.create_task(ours.read()) for _ in range(20)]
    await board.begun.wait()
    callers.pop().cancel()  # one hangs up: the others get theirs nevertheless
    board.may_end.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*callers) == [[]] * 19
    assert board.reads == 1
    await ours.read()
    assert board.reads == 2
    await ours.close()


async def test_who_waits_for_a_reading_is_answered_when_the_app_ends(tmp_path: Path) -> None:
    board, ours = SlowBoard(), machines(tmp_path, RecordedProbe([READING]))
    ours._current_board = lambda: board  # type: ignore[method-assign,assignment,return-value]
    caller = asyncio.create_task(ours.read())
    await board.begun.wait()
    async with asyncio.timeout(10):
        await ours.close()
        assert await caller == []


async def test_the_fleet_knows_how_far_apart_the_readings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.swarm.fleet_sync.READ_SECONDS", -1.0)
    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    now = 1_000.0
    board, ours = SlowBoard(), machines(tmp_path, RecordedProbe([READING]))
    monkeypatch.setattr("app.swarm.fleet_sync.time", clock)
    ours._current_board = lambda: board  # type: ignore[method-assign,assignment,return-value]
    board.may_end.set()
    await ours.read()
    assert ours.fleet.pace == 0.0
    now += 60.0
    await ours.read()
    assert ours.fleet.pace == 60.0
    await ours.close()
