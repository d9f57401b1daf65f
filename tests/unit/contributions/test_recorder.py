"""From events to the ledger: intervals begin, end, go on and are finished after a crash."""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import DatabaseError
from app.common.paths import Folders
from app.common.signing import canonical, from_text, verify
from app.contributions import recorder as module
from app.contributions.accounting import Contribution
from app.contributions.export import check
from app.contributions.ledger import Ledger, LedgerEntry, OutboxState
from app.contributions.recorder import Recorder
from app.machine import question
from app.protocol import Device, Ready, Work
from app.settings.settings import Settings
from app.state.events import Event, JoinBegan, Joined, Left, ProblemRaised, TrainerGone
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.store import Store
from tests.support.training.works import contribution

SWARM = Swarm(
    run_id="docs",
    title="Docs",
    model_type="gpt2",
    dataset="builtin",
    target_batch_size=512,
    session_id=7,
    training_id="uuid",
)
ENTERED = Work(
    samples_computed=20,
    samples_entered=16,
    tokens_entered=2048,
    compute_seconds=1.5,
    epochs=1,
    swarm_samples=512,
    bytes_sent=5000,
    bytes_sent_in_rounds=4000,
    training_seconds=2.0,
)


class World:
    """Contributions with a state that events change, as the session has it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folders = Folders.under(folder)
        self.store = Store(settings=Settings(**settings), state=ContributorState())
        self.problems: list[Problem] = []
        self.complained = asyncio.Event()
        self.contributions = Recorder(self.store, folders=self.folders)
        self.store.subscribe_to_events(self._hear)
        self.store.subscribe_to_events(self.contributions.note)

    def dispatch(self, event: Event) -> None:
        self.store.dispatch(event)

    def _hear(self, event: Event, _state: ContributorState) -> None:
        if isinstance(event, ProblemRaised):
            self.problems.append(event.problem)
            self.complained.set()

    def join(self, swarm: Swarm = SWARM) -> None:
        self.dispatch(JoinBegan(swarm=swarm))
        self.dispatch(Joined(peer_id="Qm", addresses=()))

    def train(self, *works: Work) -> None:
        """A trainer's whole life."""
        for work in works:
            self.dispatch(work)
        self.dispatch(TrainerGone())

    async def entries(self) -> list[LedgerEntry]:
        """All in the ledger once it is closed, the oldest first."""
        await self.contributions.close()
        return await asyncio.to_thread(read, self.folders.ledger_file)


def read(path: Path) -> list[LedgerEntry]:
    ledger = Ledger.open(path)
    try:
        return ledger.all()[::-1]
    finally:
        ledger.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "data")
    await world.contributions.open()
    yield world
    await world.contributions.close()


async def added(world: World) -> None:
    """Wait until the ledger has one more contribution."""
    event = asyncio.Event()
    subscription = world.contributions.ledger.subscribe(event.set)
    await asyncio.wait_for(event.wait(), 10)
    subscription.close()


# --- intervals -----------------------------------------------------------------------------------


async def test_end_of_training_makes_a_contribution(world: World) -> None:
    world.join()
    world.train(ENTERED)
    (entry,) = await world.entries()
    made = entry.contribution
    assert entry.state is OutboxState.WAITING
    assert (made.run_id, made.session_id, made.training_id) == ("docs", 7, "uuid")
    assert made.participant == "Qm"
    assert (made.samples, made.samples_computed, made.tokens, made.epochs) == (16, 20, 2048, 1)
    assert (made.gradient_quality, made.compute_time, made.data_transmitted) == (80.0, 1.5, 4.0)
    assert made.uptime_ratio == 100.0  # it says 2 s, in less time than that


async def test_contribution_is_signed_by_this_machine(world: World) -> None:
    world.join()
    world.train(ENTERED)
    (entry,) = await world.entries()
    made = entry.contribution
    assert verify(made.public_key, canonical(made.document()), from_text(made.signature))


async def test_contribution_knows_its_backend(world: World) -> None:
    world.join()
    world.train(ENTERED)
    await added(world)
    (entry,) = await world.entries()
    assert entry.backend == "http://backend:3001"


async def test_swarm_without_a_session_stays_local(world: World) -> None:
    world.join(local_swarm())
    world.train(ENTERED)
    assert [entry.state for entry in await world.entries()] == [OutboxState.LOCAL]


def local_swarm() -> Swarm:
    return Swarm(
        run_id="docs", title="", model_type="gpt2", dataset="builtin", target_batch_size=512
    )


async def test_training_without_a_sample_makes_none(world: World) -> None:
    world.join()
    world.train(Work(bytes_received=10**6, training_seconds=1.0))
    world.dispatch(Left())
    assert await world.entries() == []


async def test_each_trainer_is_counted_from_nothing(world: World) -> None:
    world.join()
    world.train(ENTERED)
    world.train(ENTERED)
    found = await world.entries()
    assert [entry.contribution.samples for entry in found] == [16, 16]
    assert len({entry.contribution.id for entry in found}) == 2


async def test_what_waited_for_a_round_is_lost_with_its_trainer(world: World) -> None:
    world.join()
    world.train(Work(samples_computed=8, samples_pending=8, training_seconds=1.0))
    (entry,) = await world.entries()
    made = entry.contribution
    assert (made.samples_computed, made.samples, made.gradient_quality) == (8, 0, 0.0)
    assert entry.state is OutboxState.LOCAL  # a report of 0.00 s would be none


async def test_what_waited_for_a_round_of_a_killed_trainer_is_not_counted(world: World) -> None:
    world.join()
    world.dispatch(Work(samples_computed=8, samples_pending=8, training_seconds=1.0))
    world.dispatch(TrainerGone(problem=Problem(message="killed")))
    assert await world.entries() == []


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@dataclass
class SimulatedTrainer:
    """Counts as a trainer does."""

    computed: int = 0
    pending: int = 0
    entered: int = 0

    def compute(self, samples: int) -> None:
        self.computed += samples
        self.pending += samples

    def end_round(self, *, lost: bool) -> None:
        self.entered += 0 if lost else self.pending
        self.pending = 0

    @property
    def work(self) -> Work:
        return Work(
            samples_computed=self.computed,
            samples_pending=self.pending,
            samples_entered=self.entered,
            compute_seconds=self.entered / 10,
        )


@dataclass
class Day:
    """A recorder whose clock the test moves, and what really happened."""

    world: World
    clock: Clock
    trainer: SimulatedTrainer = field(default_factory=SimulatedTrainer)
    computed: int = 0
    entered: int = 0

    def train(self, samples: int, *, seconds: float = 20.0) -> None:
        self.clock.now += seconds
        self.trainer.compute(samples)
        self._tell()

    def end_round(self, *, lost: bool = False) -> None:
        self.trainer.end_round(lost=lost)
        self._tell()

    def _tell(self) -> None:
        self.world.dispatch(self.trainer.work)
        self.world.contributions._finish_if_due()

    def end_trainer(self, *, killed: bool) -> None:
        self.computed += self.trainer.computed - (self.trainer.pending if killed else 0)
        self.entered += self.trainer.entered
        self.trainer = SimulatedTrainer()
        self.world.dispatch(TrainerGone(problem=Problem(message="killed") if killed else None))

    @property
    def made(self) -> list[Contribution]:
        return self.world.contributions._finished


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    world = World(tmp_path / "data")
    world.join()
    return Day(world, clock)


def quality_of(some: list[Contribution]) -> float:
    """Of all of them together, each weighted by its samples."""
    weights = [each.samples_computed for each in some]
    products = [each.gradient_quality * each.samples_computed for each in some]
    return sum(products) / sum(weights)


@pytest.mark.parametrize("seed", range(3))
def test_quality_over_a_day_is_its_definition(day: Day, seed: int) -> None:
    chance = random.Random(seed)
    while day.clock.now < 1_700_000_000.0 + 86_400.0:
        day.train(8)
        if chance.random() < 0.25:
            day.end_round(lost=chance.random() < 0.1)
        if chance.random() < 0.02:
            day.end_trainer(killed=chance.random() < 0.5)
    day.end_trainer(killed=False)
    assert sum(each.samples for each in day.made) == day.entered
    assert sum(each.samples_computed for each in day.made) == day.computed
    assert quality_of(day.made) == pytest.approx(100 * day.entered / day.computed, abs=0.01)
    reported = [each for each in day.made if each.is_reported]
    assert min(each.compute_time for each in reported) >= 0.1
    assert all(each.samples == 0 for each in day.made if not each.is_reported)
    ends = [(each.started_at, each.ended_at) for each in day.made]
    assert all(before[1] <= after[0] + 0.001 for before, after in pairwise(ends))


def test_quality_is_not_worse_because_one_was_killed(day: Day) -> None:
    for _ in range(200):
        day.train(8)
        day.end_round()
        day.train(8)
        day.end_trainer(killed=True)
    assert {each.gradient_quality for each in day.made} == {100.0}


def test_lost_samples_belong_to_the_interval_that_computed_them(day: Day) -> None:
    day.train(30, seconds=50.0)
    day.end_round()
    day.train(20, seconds=20.0)  # by now the interval is due
    day.end_round(lost=True)
    day.train(10, seconds=30.0)
    day.end_round()
    day.train(1, seconds=60.0)
    first, second = day.made
    assert (first.samples_computed, first.gradient_quality) == (30, 100.0)
    assert first.ended_at - first.started_at == pytest.approx(50.0)
    assert (second.samples_computed, second.samples) == (30, 10)
    assert second.started_at == pytest.approx(first.ended_at)
    assert second.ended_at - second.started_at == pytest.approx(50.0)


def test_rounds_that_only_lose_make_no_report(day: Day) -> None:
    for _ in range(30):
        day.train(8)
        day.end_round(lost=True)
    assert day.made == []
    day.train(8)
    day.end_round()
    (made,) = day.made
    assert (made.samples_computed, made.samples) == (248, 8)


async def test_leaving_closes_what_is_under_way(world: World) -> None:
    world.join()
    world.dispatch(ENTERED)
    world.dispatch(Left())
    world.dispatch(ENTERED)  # a late word, in no swarm
    assert len(await world.entries()) == 1


async def test_coming_back_into_the_swarm_begins_nothing_anew(world: World) -> None:
    world.join()
    world.dispatch(ENTERED)
    current = world.contributions.current
    world.dispatch(Joined(peer_id="Qm", addresses=()))
    assert current is not None
    assert world.contributions.current is not None
    assert world.contributions.current.id == current.id


async def test_closing_writes_what_is_under_way(world: World) -> None:
    world.join()
    world.dispatch(ENTERED)
    assert [entry.contribution.samples for entry in await world.entries()] == [16]


async def test_interval_that_is_due_is_closed_and_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    world = World(tmp_path / "data")
    world.contributions._seconds = 0
    await world.contributions.open()
    world.join()
    world.dispatch(ENTERED)
    await added(world)
    more = Work(**{name: getattr(ENTERED, name) * 2 for name in ENTERED.__struct_fields__})
    world.dispatch(more)
    await added(world)
    found = [entry.contribution for entry in await world.entries()]
    assert [each.samples for each in found] == [16, 16]
    assert [each.bytes_sent for each in found] == [5000, 5000]


async def test_long_epoch_goes_on_over_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    world = World(tmp_path / "data")
    world.contributions._seconds = 0
    await world.contributions.open()
    world.join()
    world.dispatch(Work(samples_computed=8, samples_pending=8, bytes_sent=1))
    await saved(world, samples_computed=0)
    world.dispatch(ENTERED)
    await added(world)
    assert [entry.contribution.samples for entry in await world.entries()] == [16]


async def saved(world: World, *, samples_computed: int) -> Contribution:
    """The interval that goes on, once it is on the disk."""
    while True:
        left = await world.contributions.ledger.run(Ledger.left_open)
        if left and left[0].samples_computed == samples_computed:
            return left[0]
        await asyncio.sleep(0)


# --- crashes -------------------------------------------------------------------------------------


async def test_interval_of_a_run_that_crashed_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "data")
    path = world.folders.ledger_file
    await asyncio.to_thread(leave_open, path, contribution(1), contribution(2, samples_computed=0))
    await world.contributions.open()
    (entry,) = await world.entries()
    made = entry.contribution
    assert (made.id, entry.state) == (contribution(1).id, OutboxState.WAITING)
    assert verify(made.public_key, canonical(made.document()), from_text(made.signature))
    assert await asyncio.to_thread(left_open, path) == []


def leave_open(path: Path, *left: Contribution) -> None:
    ledger = Ledger.open(path)
    for each in left:
        ledger.save_open(each)
    ledger.close()


def left_open(path: Path) -> list[Contribution]:
    ledger = Ledger.open(path)
    try:
        return ledger.left_open()
    finally:
        ledger.close()


async def test_interval_that_goes_on_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    world = World(tmp_path / "data")
    await world.contributions.open()
    world.join()
    world.dispatch(ENTERED)
    kept = await saved(world, samples_computed=20)
    assert kept.samples == 16
    world.dispatch(TrainerGone())
    (entry,) = await world.entries()
    assert entry.contribution.id == kept.id


async def test_damaged_ledger_is_said(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    world.folders.create()
    await asyncio.to_thread(world.folders.ledger_file.write_bytes, b"x" * 5000)
    await world.contributions.open()
    (problem,) = world.problems
    assert "damaged" in problem.message
    assert "ledger.damaged-" in problem.remedy
    await world.contributions.close()


async def test_full_disk_at_the_start_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ledger: Ledger, _id: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    before = World(tmp_path / "data")
    await before.contributions.open()
    await before.contributions.ledger.run(
        Ledger.save_open, replace(contribution(), samples_computed=0)
    )
    await before.contributions.close()
    monkeypatch.setattr(Ledger, "drop_open", fail)
    world = World(tmp_path / "data")
    with pytest.raises(DatabaseError, match="disk is full"):
        await world.contributions.open()
    await world.contributions.close()


async def test_full_disk_is_said_once_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    world.join()
    with monkeypatch.context() as full:
        full.setattr(Ledger, "add", fail)
        world.train(ENTERED)
        await asyncio.wait_for(world.complained.wait(), 10)
        world.train(ENTERED)
        await world.contributions._try_to_write()
    assert ["disk is full" in problem.message for problem in world.problems] == [True]
    assert len(await world.entries()) == 2


# --- the rest ------------------------------------------------------------------------------------


async def test_energy_is_that_of_the_device_that_trains(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "DEADLINE_SECONDS", 20.0)  # who answers is never late

    class Meter:
        asked: set[tuple[Device, ...]] = set()  # noqa: RUF012

        def take(self, devices: tuple[Device, ...]) -> float | None:
            self.asked.add(devices)
            return 2.5

    world.contributions.energy = Meter()  # type: ignore[assignment]
    world.join()
    world.dispatch(
        Ready(
            peer_id="Qm",
            addresses=(),
            device="cuda:0",
            device_name="NVIDIA H100",
            precision="bf16",
            parameters=1,
            micro_batch_size=1,
            resumed_epoch=None,
        )
    )
    world.train(ENTERED)
    (entry,) = await world.entries()
    assert entry.contribution.energy == 2.5
    assert (Device(id="cuda:0", name="NVIDIA H100", memory=0),) in Meter.asked


async def test_a_driver_that_hangs_keeps_nothing_from_being_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Meter:
        calls = 0
        may_answer = threading.Event()

        def take(self, _devices: object) -> float | None:
            self.calls += 1
            self.may_answer.wait()
            return 2.5

    monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)
    world.contributions.energy = meter = Meter()  # type: ignore[assignment]
    async with asyncio.timeout(10):
        for _ in range(2):
            world.join()
            world.train(ENTERED)
            await added(world)
            world.dispatch(Left())
        entries = await world.entries()  # closing doesn't wait for it either
    assert [entry.contribution.energy for entry in entries] == [None, None]
    assert meter.calls == 1
    meter.may_answer.set()


async def test_current_one_is_shown_before_it_ends(world: World) -> None:
    assert world.contributions.current is None
    world.join()
    world.dispatch(ENTERED)
    assert world.contributions.current is not None
    assert world.contributions.current.samples == 16


async def test_export_can_be_checked(world: World, tmp_path: Path) -> None:
    world.join()
    world.train(ENTERED)
    await added(world)
    path = tmp_path / "out.json"
    assert await world.contributions.export(path) == 1
    raw = await asyncio.to_thread(path.read_bytes)
    assert check(raw)["contributions"][0]["samples"] == 16


async def test_never_opened_it_can_be_closed(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    world.join()
    world.train(ENTERED)
    await world.contributions.close()
    await world.contributions.close()


# --- traffic -------------------------------------------------------------------------------------


async def test_what_was_transferred_since_then_is_known_before_it_is_settled(world: World) -> None:
    world.join()
    world.train(ENTERED)
    await added(world)
    world.dispatch(Work(samples_computed=4, bytes_sent=300, bytes_received=20))
    assert await world.contributions.transferred(0.0) == 5320
    assert await world.contributions.transferred(time.time() + 60) == 320
