"""The app's way back at its start: what it notes, and that it tries until it is told otherwise."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import JoinError, OrganiserError
from app.settings.settings import Settings
from app.spec import schema
from app.state.events import (
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    PauseChosen,
    PauseEnded,
    ReadingBegan,
    ReadingEnded,
    RestartCancelled,
    StopRequested,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.recents import Recents
from app.swarm.way_back import Intention, WayBack, _read
from tests.support.processes.apps import PATIENCE
from tests.support.training.specs import SMALLEST

SPEC = schema.parse({**SMALLEST, "run_id": "poems", "title": "Poems"})
IN = Joined(peer_id="Qm", addresses=())
TRAINS = TrainingRequested(device="cpu")
TRAINED = Intention(run_id="poems", train=True)
FAR = 1e11
"""Seconds since the epoch: in some thousand years."""


def began(*, returns: bool = True, run_id: str = "poems") -> JoinBegan:
    swarm = Swarm(
        run_id=run_id,
        title="Poems",
        model_type="gpt2",
        dataset="builtin",
        target_batch_size=1,
        returns=returns,
    )
    return JoinBegan(swarm=swarm)


@dataclass
class Gate:
    """A membership whose swarm can be entered once ``answers`` says so."""

    store: Store
    answers: list[Any]
    tries: int = 0
    tried: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def join(self, spec: Any) -> bool:
        self.tries += 1
        self.store.dispatch(began(run_id=spec.run_id))
        answer = self.answers.pop(0)
        async with self.tried:
            self.tried.notify_all()
        if isinstance(answer, Exception):
            self.store.dispatch(JoinFailed(problem=Problem(message=str(answer))))
            raise answer
        if answer:
            self.store.dispatch(IN)
        return bool(answer)


@dataclass
class Machine:
    """One start of the app after the other, on one data folder."""

    folder: Path
    trained: int = 0
    paused: list[float | None] = field(default_factory=list)

    def start(self, *answers: Any, **settings: Any) -> tuple[WayBack, Store, Gate]:
        store = Store(settings=Settings.model_construct(**settings), state=ContributorState())
        gate = Gate(store, list(answers))
        way_back = WayBack(
            store,
            file=self.file,
            recents=Recents(self.folder / "recent.json"),
            membership=gate,  # type: ignore[arg-type]
            train=self._train,
            pause=self._pause,
        )
        store.subscribe_to_events(way_back.note)
        return way_back, store, gate

    @property
    def file(self) -> Path:
        return self.folder / "way-back.json"

    async def _train(self) -> None:
        self.trained += 1

    async def _pause(self, until: float | None) -> None:
        self.paused.append(until)


@pytest.fixture
async def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    await Recents(tmp_path / "recent.json").remember(SPEC)
    return made


async def was_training(machine: Machine) -> None:
    way_back, store, _gate = machine.start()
    for event in (began(), IN, TRAINS):
        store.dispatch(event)
    await way_back.close()


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ([began(), IN], Intention(run_id="poems")),
        ([began(), IN, TRAINS], Intention(run_id="poems", train=True)),
        ([began(), IN, TrainingAwaited()], Intention(run_id="poems", train=True)),
        ([began(), IN, ReadingBegan()], Intention(run_id="poems", train=True)),
        ([began(), IN, ReadingBegan(), ReadingEnded()], Intention(run_id="poems", train=True)),
        ([began(), IN, TRAINS, IN], Intention(run_id="poems", train=True)),
        ([began(), IN, TRAINS, StopRequested()], Intention(run_id="poems")),
        (
            [began(), IN, TRAINS, PauseChosen(until=9.5)],
            replace(TRAINED, paused=True, paused_until=9.5),
        ),
        ([began(), IN, TRAINS, PauseChosen()], replace(TRAINED, paused=True)),
        ([began(), IN, TRAINS, PauseChosen(until=9.5), PauseEnded()], TRAINED),
        ([began(), IN, TRAINS, PauseChosen(), StopRequested()], Intention(run_id="poems")),
        ([began(), IN, TRAINS, TrainerGone(completed=True)], Intention(run_id="poems")),
        (
            [began(), IN, TRAINS, TrainerGone(problem=Problem(message="it crashed"))],
            Intention(run_id="poems", train=True),
        ),
        ([began(), IN, TRAINS, RestartCancelled()], Intention(run_id="poems")),
        ([began(), IN, RestartCancelled(), TRAINS], Intention(run_id="poems", train=True)),
        ([began(), IN, TRAINS, Left()], None),
        ([began(returns=False), IN, TRAINS], None),
        ([began(), JoinFailed(problem=Problem(message="nobody"))], None),
        ([began(), IN, Left(), began(run_id="other"), IN], Intention(run_id="other")),
    ],
)
async def test_what_the_app_does_is_noted(
    machine: Machine, events: list[Any], kept: Intention | None
) -> None:
    way_back, store, _gate = machine.start()
    for event in events:
        store.dispatch(event)
    await way_back.close()
    assert _read(machine.file) == kept


async def test_the_end_of_the_app_is_no_wish_of_the_user(machine: Machine) -> None:
    way_back, store, _gate = machine.start()
    for event in (began(), IN, TRAINS):
        store.dispatch(event)
    await way_back.close()
    for event in (StopRequested(), TrainerGone(), Left()):
        store.dispatch(event)
    assert _read(machine.file) == Intention(run_id="poems", train=True)


async def test_it_goes_back_and_trains(machine: Machine) -> None:
    await was_training(machine)
    way_back, store, _gate = machine.start(True)
    assert await way_back.go_back()
    assert (machine.trained, store.state.returning) == (1, None)
    await way_back.close()
    assert _read(machine.file) == Intention(run_id="poems", train=True)


@pytest.mark.parametrize(
    ("until", "told"),
    [(None, [None]), (FAR, [FAR]), (9.5, [])],
)
async def test_a_pause_lasts_over_a_restart(
    machine: Machine, until: float | None, told: list[float | None]
) -> None:
    way_back, store, _gate = machine.start()
    for event in (began(), IN, TRAINS, PauseChosen(until=until)):
        store.dispatch(event)
    await way_back.close()
    assert await machine.start(True)[0].go_back()
    assert (machine.paused, machine.trained) == (told, 0 if told else 1)


async def test_who_only_watched_watches(machine: Machine) -> None:
    way_back, store, _gate = machine.start()
    store.dispatch(began())
    store.dispatch(IN)
    await way_back.close()
    assert await machine.start(True)[0].go_back()
    assert machine.trained == 0


async def test_it_tries_until_the_swarm_is_there_and_says_when(machine: Machine) -> None:
    await was_training(machine)
    nobody = JoinError("none of the 2 peers can be reached.")
    way_back, store, gate = machine.start(nobody, nobody, True)
    going = asyncio.create_task(way_back.go_back())
    for number in (1, 2):
        await until(store, lambda state: (r := state.returning) is not None and bool(r.retry_at))
        assert gate.tries == number
        returning = store.state.returning
        assert returning is not None
        assert (returning.title, returning.reason) == ("Poems", nobody.message)
        assert store.state.problem is None  # said once, beside the countdown
        way_back.hurry()
        await until(store, lambda state: (r := state.returning) is None or r.retry_at is None)
    assert await asyncio.wait_for(going, PATIENCE)
    assert (gate.tries, machine.trained) == (3, 1)


async def test_the_user_gives_it_up_for_good(machine: Machine) -> None:
    await was_training(machine)
    way_back, store, gate = machine.start(JoinError("nobody."))
    going = asyncio.create_task(way_back.go_back())
    await until(store, lambda state: (r := state.returning) is not None and bool(r.retry_at))
    way_back.give_up()
    assert not await asyncio.wait_for(going, PATIENCE)
    await way_back.close()
    assert (gate.tries, machine.trained, store.state.returning) == (1, 0, None)
    assert await machine.start()[0].planned() is None


async def test_it_is_given_up_before_its_plan_was_read(machine: Machine) -> None:
    await was_training(machine)
    way_back, _store, gate = machine.start()
    going = asyncio.create_task(way_back.go_back())
    await asyncio.sleep(0)  # it reads the file
    way_back.give_up()
    assert not await asyncio.wait_for(going, PATIENCE)
    await way_back.close()
    assert gate.tries == 0
    assert await machine.start()[0].planned() is None


async def test_who_returns_and_is_killed_meanwhile_goes_there_at_the_next_start(
    machine: Machine,
) -> None:
    way_back, store, _gate = machine.start(JoinError("nobody."))
    going = asyncio.create_task(way_back.return_to(SPEC, TRAINED))
    await until(store, lambda state: (r := state.returning) is not None and bool(r.retry_at))
    await way_back.close()
    assert not await asyncio.wait_for(going, PATIENCE)
    assert await machine.start()[0].planned() == (SPEC, TRAINED)


async def test_another_swarm_ends_it(machine: Machine) -> None:
    await was_training(machine)
    way_back, store, gate = machine.start(JoinError("nobody."))
    going = asyncio.create_task(way_back.go_back())
    await until(store, lambda state: (r := state.returning) is not None and bool(r.retry_at))
    store.dispatch(began(run_id="other"))
    store.dispatch(IN)
    assert not await asyncio.wait_for(going, PATIENCE)
    await way_back.close()
    assert (gate.tries, machine.trained) == (1, 0)
    assert _read(machine.file) == Intention(run_id="other")


async def test_leaving_while_it_joins_ends_it(machine: Machine) -> None:
    await was_training(machine)
    assert not await machine.start(False)[0].go_back()
    assert machine.trained == 0


async def test_what_no_waiting_mends_is_raised(machine: Machine) -> None:
    await was_training(machine)
    way_back, store, _gate = machine.start(OrganiserError("another key signed it."))
    with pytest.raises(OrganiserError):
        await way_back.go_back()
    assert store.state.returning is None


@pytest.mark.parametrize(
    "content",
    ["", "nonsense", "[]", '{"run_id": 3, "train": true}', '{"run_id": "gone", "train": true}'],
)
async def test_without_a_plan_it_stays_where_it_is(machine: Machine, content: str) -> None:
    machine.file.write_text(content, encoding="utf-8")
    assert not await machine.start()[0].go_back()


async def test_the_setting_keeps_it_away(machine: Machine) -> None:
    await was_training(machine)
    assert await machine.start(go_back=False)[0].planned() is None
    assert await machine.start()[0].planned() == (SPEC, TRAINED)


async def until(store: Store, condition: Any) -> None:
    """Wait until the state is so."""
    reached = asyncio.Event()
    watching = store.subscribe(lambda state: reached.set() if condition(state) else None)
    if not condition(store.state):
        await asyncio.wait_for(reached.wait(), PATIENCE)
    watching.close()
