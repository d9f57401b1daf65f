"""What the charts show reaches the trackers of the user's choice, and without one nobody."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app import protocol
from app.common.paths import Folders
from app.p2p.sightings import Run
from app.settings.loading import changed
from app.settings.settings import Settings
from app.state.events import Event, JoinBegan, Left, RunObserved, TrainingRequested
from app.state.facts import Problem, Swarm
from app.state.history import History
from app.state.state import ContributorState
from app.state.store import Store
from app.trackers.trackers import Trackers
from tests.support.trackers.modules import WRITES_DOWN, calls, install

pytestmark = pytest.mark.usefixtures("tensorboardx")
SWARM = Swarm(run_id="docs", title="Docs", model_type="gpt2", dataset="x", target_batch_size=100)


class App:
    """A store, a history and trackers, as a session puts them together, at a time of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders.under(folder)
        self.folders.create()
        self.now = 1_800_000_000.0
        self.history = History()
        self.store = Store(settings=Settings(), state=ContributorState())
        self.trackers = Trackers(self.store, history=self.history, folders=self.folders)
        self.store.subscribe_to_events(self._record)
        self.store.subscribe_to_events(self.trackers.note)
        self.problems: asyncio.Queue[Problem] = asyncio.Queue()
        self.store.subscribe(self._see)

    def _record(self, event: Event, _state: ContributorState) -> None:
        self.history.record(event, self.now)

    def _see(self, state: ContributorState) -> None:
        if state.problem is not None:
            self.problems.put_nowait(state.problem)

    def set(self, **changes: object) -> None:
        self.store.replace_settings(changed(self.store.settings, changes))

    async def train(self, loss: float = 2.5) -> None:
        """Some seconds of a swarm, then a look."""
        self.store.dispatch(RunObserved(run=Run(epoch=3, samples=40, trainers=2, loss=loss + 1)))
        self.history.loss.add(self.now, loss)
        self.now += 10.0
        await self.trackers.look()

    async def leave(self) -> None:
        await self.trackers.end_run()
        self.store.dispatch(Left())

    def events(self, run_id: str = "docs") -> EventAccumulator:
        found = EventAccumulator(str(self.folders.data / "tensorboard" / run_id))
        found.Reload()
        return found

    def written(self) -> list[str]:
        return sorted(file.name for file in self.folders.data.iterdir())


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    made = App(tmp_path / "data")
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    made.trackers._collector._since = int(made.now)
    made.store.dispatch(JoinBegan(swarm=SWARM))
    yield made
    await made.trackers.close()


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., None]:
    def put(source: str = WRITES_DOWN) -> None:
        install(tmp_path / "installed", "wandb", source)

    return put


# --- TensorBoard ---------------------------------------------------------------------------------


async def test_nothing_is_written_unless_it_is_chosen(app: App) -> None:
    before = app.written()
    await app.train()
    assert app.written() == before


async def test_curves_reach_tensorboard(app: App) -> None:
    app.set(tensorboard=True)
    for loss in (3.0, 2.5):
        await app.train(loss)
    found = app.events()
    assert [event.value for event in found.Scalars("loss/this_machine")] == [3.0, 2.5]
    assert [event.value for event in found.Scalars("loss/swarm")] == [4.0, 3.5]
    assert {event.step for event in found.Scalars("loss/swarm")} == {340}
    assert "trainers/swarm" in found.Tags()["scalars"]


async def test_evaluations_reach_tensorboard(app: App) -> None:
    app.set(tensorboard=True)
    app.store.dispatch(TrainingRequested(device="cpu"))
    app.store.dispatch(
        protocol.Evaluated(
            epoch=2, loss=2.75, bits_per_byte=3.5, tokens=99, seconds=0.1, time=app.now
        )
    )
    await app.train()
    found = app.events()
    assert [event.value for event in found.Scalars("held_out_loss/this_machine")] == [2.75]
    assert [event.value for event in found.Scalars("held_out_bits_per_byte/this_machine")] == [3.5]


async def test_the_setting_is_in_force_at_once(app: App) -> None:
    await app.train(9.0)
    app.set(tensorboard=True)
    await app.train(3.0)
    app.set(tensorboard=False)
    await app.train(9.0)
    app.set(tensorboard=True)
    await app.train(2.0)
    assert [event.value for event in app.events().Scalars("loss/this_machine")] == [3.0, 2.0]


async def test_each_run_has_its_folder_and_its_last_values(app: App) -> None:
    app.set(tensorboard=True)
    await app.train(3.0)
    app.history.loss.add(app.now, 2.0)
    app.now += 2.0
    await app.leave()
    app.store.dispatch(JoinBegan(swarm=Swarm(**{**vars(SWARM), "run_id": "other"})))
    await app.train(7.0)
    assert [event.value for event in app.events().Scalars("loss/this_machine")] == [3.0, 2.0]
    assert [event.value for event in app.events("other").Scalars("loss/this_machine")] == [7.0]


async def test_nothing_follows_once_the_swarm_is_being_left(app: App) -> None:
    """The state still has the swarm when the session closes."""
    app.set(tensorboard=True)
    await app.trackers.end_run()
    await app.train()
    assert "tensorboard" not in app.written()


async def test_a_folder_that_cant_be_written_is_told_once(app: App) -> None:
    (app.folders.data / "tensorboard").write_text("in the way")
    app.set(tensorboard=True)
    await app.train()
    await app.train()
    problem = app.problems.get_nowait()
    assert "can't be written" in problem.message
    assert "Training goes on" in problem.remedy
    assert app.problems.empty()
    (app.folders.data / "tensorboard").unlink()
    app.set(tensorboard=False)
    await app.train()
    app.set(tensorboard=True)
    await app.train(2.0)
    assert [event.value for event in app.events().Scalars("loss/this_machine")] == [2.0]


async def test_any_defect_of_the_writer_is_told_once(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.record_writer", None)
    app.set(tensorboard=True)
    await app.train()
    await app.train()
    assert "halted" in app.problems.get_nowait().message
    assert app.problems.empty()


# --- the user's own ------------------------------------------------------------------------------


async def test_curves_reach_the_users_tracker(app: App, installed: Callable[..., None]) -> None:
    installed()
    app.set(tracker="wandb")
    await app.train()
    await app.train()
    await app.trackers.close()
    begun, *logged, ended = calls(app.folders.data / "tracker")
    assert (begun["init"], begun["group"]) == ("cotrain", "docs")
    assert begun["name"].startswith("docs 20")
    assert begun["config"]["model_type"] == "gpt2"
    assert [(call["step"], call["log"]["loss/this_machine"]) for call in logged] == [(340, 2.5)] * 2
    assert ended == {"finish": True}


async def test_each_swarm_is_a_run_of_its_own(app: App, installed: Callable[..., None]) -> None:
    installed()
    app.set(tracker="wandb")
    await app.train()
    await app.leave()
    app.store.dispatch(JoinBegan(swarm=Swarm(**{**vars(SWARM), "run_id": "other"})))
    await app.train()
    await app.trackers.close()
    groups = [call["group"] for call in calls(app.folders.data / "tracker") if "init" in call]
    assert sorted(groups) == ["docs", "other"]


async def test_a_missing_tracker_is_told_with_the_command_and_once(app: App) -> None:
    app.set(tracker="trackio")
    await app.train()
    problem = await app.problems.get()
    assert problem.field == "tracker"
    assert problem.message == f"Trackio isn't installed in {sys.executable}."
    assert f"{sys.executable} -m pip install trackio" in problem.remedy
    await app.train()
    assert app.problems.empty()


async def test_a_broken_one_is_told_and_tried_again_after_the_next_join(
    app: App, installed: Callable[..., None]
) -> None:
    installed("raise RuntimeError('no key')")
    app.set(tracker="wandb")
    await app.train()
    problem = await app.problems.get()
    assert "Weights & Biases has ended: RuntimeError: no key." in problem.message
    assert str(app.folders.logs / "tracker.log") in problem.remedy
    installed()
    await app.leave()
    app.store.dispatch(JoinBegan(swarm=SWARM))
    await app.train()
    await app.trackers.close()
    assert {"finish": True} in calls(app.folders.data / "tracker")


async def test_a_wrong_python_is_told(app: App) -> None:
    app.set(tracker="wandb", tracker_python="/nowhere/python")
    await app.train()
    problem = app.problems.get_nowait()
    assert problem.field == "tracker_python"
    assert "/nowhere/python can't be started" in problem.message


async def test_none_is_started_for_the_last_seconds(
    app: App, installed: Callable[..., None]
) -> None:
    installed()
    app.set(tracker="wandb")
    app.history.loss.add(app.now, 1.0)
    app.now += 2.0
    await app.trackers.close()
    assert "tracker" not in app.written()


@pytest.mark.logs_error("can't be passed on")
async def test_a_defect_in_it_never_keeps_anybody_from_leaving(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no point")

    with monkeypatch.context() as patched:
        patched.setattr("app.trackers.point.Collector.take", broken)
        await app.trackers.end_run()
    await app.train()


async def test_both_at_once(app: App, installed: Callable[..., None]) -> None:
    installed()
    app.set(tensorboard=True, tracker="wandb")
    await app.train()
    await app.trackers.close()
    assert app.events().Tags()["scalars"]
    assert len(calls(app.folders.data / "tracker")) == 3


async def test_it_may_be_opened_and_closed_twice(app: App) -> None:
    app.trackers.open()
    await app.trackers.close()
    await app.trackers.close()
