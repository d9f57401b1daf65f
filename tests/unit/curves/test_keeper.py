"""The charts' curves survive leaving a swarm and restarting, with a gap, and hurt nobody."""

import math
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.curves.keeper import CurveKeeper
from app.curves.storage import CurveFile, StoredRun
from app.evaluation_messages import Evaluated, SampleGenerated
from app.settings.settings import Settings
from app.state.events import Event, JoinBegan, Left, TrainingRequested
from app.state.facts import Swarm
from app.state.history import History
from app.state.reported import MOST_SAMPLES
from app.state.state import ContributorState
from app.state.store import Store

MakeApp = Callable[[], Awaitable["App"]]
NOW = 1_800_000_000.0


class App:
    """A store, a history and a keeper, as a session puts them together."""

    def __init__(self, file: Path) -> None:
        self.history = History()
        self.store = Store(settings=Settings(), state=ContributorState())
        self.keeper = CurveKeeper(self.history, file=file, dispatch=self.store.dispatch)
        self.store.subscribe_to_events(self._record)
        self.store.subscribe_to_events(self.keeper.note)

    def _record(self, event: Event, _state: ContributorState) -> None:
        self.history.record(event, NOW)

    async def join(self, run_id: str) -> None:
        self.store.dispatch(JoinBegan(swarm=swarm(run_id)))
        await self.settle()

    def evaluate(self, epoch: int, loss: float) -> None:
        """A trainer has evaluated an epoch, and written after a prompt."""
        if not self.store.state.phase.has_trainer:
            self.store.dispatch(TrainingRequested(device="cpu"))
        self.store.dispatch(
            Evaluated(
                epoch=epoch, loss=loss, bits_per_byte=loss, tokens=9, seconds=1.0, time=NOW + epoch
            )
        )
        self.store.dispatch(
            SampleGenerated(epoch=epoch, prompt="The", text=f" {epoch}", time=NOW + epoch)
        )

    async def settle(self) -> None:
        """All that was begun in the background has ended."""
        if self.keeper._file.is_open:
            await self.keeper._restoring
        if self.keeper._writing is not None:
            await self.keeper._writing

    def losses(self, *, now: float = NOW, span: float = 600.0) -> list[float | None]:
        """None is a gap."""
        _times, values = self.history.loss.since(now - span, now)
        return [None if math.isnan(value) else value for value in values]


def swarm(run_id: str, *, identity: str = "") -> Swarm:
    return Swarm(
        run_id=run_id,
        title=run_id,
        model_type="gpt2",
        dataset="docs",
        target_batch_size=64,
        identity=identity,
    )


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeApp]:
    """Starts the app on the same data folder; the clock stands still."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    started: list[App] = []

    async def start() -> App:
        app = App(tmp_path / "curves.sqlite")
        await app.keeper.open()
        started.append(app)
        return app

    yield start
    for app in started:
        await app.keeper.close()


async def test_curves_survive_a_restart_with_a_gap(start: MakeApp) -> None:
    first = await start()
    await first.join("docs")
    for age in (120, 119):
        first.history.loss.add(NOW - age, 3.0)
    await first.keeper.close()
    second = await start()
    await second.join("docs")
    second.history.loss.add(NOW - 115, 2.0)  # so near that the line would bridge it
    assert second.losses() == [3.0, 3.0, None, 2.0]


async def test_curves_survive_leaving_and_another_swarm(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW - 50, 3.0)
    app.store.dispatch(Left())
    await app.join("other")
    assert app.losses() == []
    app.history.loss.add(NOW - 40, 7.0)
    app.store.dispatch(Left())
    await app.join("docs")
    assert app.losses() == [3.0]
    app.store.dispatch(Left())
    await app.join("other")
    assert app.losses() == [7.0]


async def test_coarser_rings_come_back_too(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    for hour in range(48, 0, -1):
        app.history.loss.add(NOW - 3600 * hour, float(hour))
    app.store.dispatch(Left())
    await app.join("docs")
    found = [value for value in app.losses(span=3 * 86400.0) if value is not None]
    assert (found[0], found[-1]) == (48.0, 1.0)


async def test_the_gap_is_kept_as_well(start: MakeApp) -> None:
    app = await start()
    for age in (100, 95, 90):
        await app.join("docs")
        app.history.loss.add(NOW - age, 1.0)
        app.store.dispatch(Left())
    await app.join("docs")
    assert app.losses() == [1.0, None, 1.0, None, 1.0]


async def test_a_bucket_that_goes_on_after_a_restart_keeps_its_mean(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW, 1.0)
    app.store.dispatch(Left())
    await app.join("docs")
    app.history.loss.add(NOW, 2.0)
    app.store.dispatch(Left())
    await app.join("docs")
    assert app.losses() == [1.5]


async def test_values_that_came_before_the_file_was_read_are_not_lost(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW - 60, 3.0)
    app.store.dispatch(Left())
    app.store.dispatch(JoinBegan(swarm=swarm("docs")))
    app.history.loss.add(NOW - 10, 2.0)
    await app.settle()
    assert app.losses() == [3.0, None, 2.0]


async def test_what_was_read_for_a_swarm_that_was_left_is_dropped(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW - 60, 3.0)
    app.store.dispatch(Left())
    app.store.dispatch(JoinBegan(swarm=swarm("docs")))
    app.store.dispatch(JoinBegan(swarm=swarm("other")))
    await app.settle()
    assert app.losses() == []


async def test_curves_of_an_older_version_come_back_without_the_runs_progress(
    start: MakeApp, tmp_path: Path
) -> None:
    """Files of versions that didn't keep how far the run was, and of ones that keep more."""
    file = CurveFile.open(tmp_path / "curves.sqlite")
    rings = {(name, 1.0): [(int(NOW) - 9, 3.0, 1)] for name in ("loss", "of_a_later_version")}
    file.save(StoredRun(run_id="docs", title="Docs", saved_at=NOW), rings)
    file.close()
    app = await start()
    await app.join("docs")
    assert app.losses() == [3.0]
    assert not len(app.history.swarm_epoch)
    app.history.swarm_epoch.add(NOW - 2, 4.5)
    app.store.dispatch(Left())
    await app.join("docs")
    assert app.history.swarm_epoch.since(NOW - 9, NOW)[1] == [4.5]


async def test_the_curves_of_a_run_that_was_left_can_be_read(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW - 50, 3.0)
    assert await app.keeper.history_of("docs") is app.history
    app.store.dispatch(Left())
    await app.join("other")
    earlier = await app.keeper.history_of("docs")
    assert earlier.loss.since(NOW - 60, NOW)[1] == [3.0]
    assert app.losses() == []
    assert not len((await app.keeper.history_of("unknown")).loss)


async def test_nothing_is_written_where_nothing_is_new(start: MakeApp, tmp_path: Path) -> None:
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW, 1.0)
    app.keeper._save()
    await app.settle()
    assert app.keeper._changes() == {}
    app.history.loss.add(NOW, 1.0)  # into the same bucket
    assert app.keeper._changes()["loss", 1.0] == [(int(NOW), 2.0, 2)]


async def test_after_a_full_disk_everything_is_written(
    start: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = await start()
    await app.join("docs")
    await app.keeper._file.run(sqlite3.Connection.execute, "PRAGMA max_page_count = 1")
    for age in range(600, 0, -1):
        app.history.loss.add(NOW - age, 1.0)
    app.keeper._save()
    await app.settle()
    assert "full" in caplog.text
    await app.keeper._file.run(sqlite3.Connection.execute, "PRAGMA max_page_count = 100000")
    await app.keeper.close()
    file = CurveFile.open(tmp_path / "curves.sqlite")
    assert len(file.load("docs")["loss", 1.0]) == 600
    file.close()


async def test_evaluations_and_samples_survive_a_restart(start: MakeApp) -> None:
    first = await start()
    await first.join("docs")
    for epoch, loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        first.evaluate(epoch, loss)
    state = first.store.state
    await first.keeper.close()
    second = await start()
    await second.join("docs")
    again = second.store.state
    assert (again.evaluation, again.best_evaluation) == (state.evaluation, state.best_evaluation)
    assert again.best_evaluation is not None
    assert again.best_evaluation.epoch == 2
    assert again.samples == state.samples
    second.evaluate(3, 1.5)  # again, from the checkpoint
    assert [each.epoch for each in second.store.state.samples] == [1, 2, 3]
    second.store.dispatch(Left())
    await second.join("other")
    assert second.store.state.evaluation is None
    await second.join("docs")
    assert second.store.state.evaluation == second.store.state.best_evaluation
    assert second.store.state.samples[-1].text == " 3"


async def test_another_swarm_with_the_same_run_id_has_evaluations_of_its_own(
    start: MakeApp,
) -> None:
    app = await start()
    await app.join("docs")
    app.evaluate(7, 3.0)
    app.store.dispatch(Left())
    app.store.dispatch(JoinBegan(swarm=swarm("docs", identity="another")))
    await app.settle()
    assert app.store.state.evaluation is None
    assert app.store.state.samples == ()
    app.store.dispatch(Left())
    await app.join("docs")
    assert app.store.state.evaluation is not None


async def test_of_many_samples_the_newest_are_kept(start: MakeApp) -> None:
    app = await start()
    await app.join("docs")
    for epoch in range(MOST_SAMPLES + 3):
        app.evaluate(epoch, 1.0)
        if epoch == 10:
            app.store.dispatch(Left())
            await app.join("docs")
    app.store.dispatch(Left())
    await app.join("docs")
    kept = [each.epoch for each in app.store.state.samples]
    assert kept == list(range(3, MOST_SAMPLES + 3))


async def test_a_file_that_cant_be_used_hurts_nobody(
    start: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "curves.sqlite").mkdir()
    app = await start()
    await app.join("docs")
    app.history.loss.add(NOW, 1.0)
    app.store.dispatch(Left())
    assert "can't be kept" in caplog.text


async def test_a_file_of_a_later_version_stays_as_it_is(
    start: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "curves.sqlite"
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()
    await start()
    assert "later version" in caplog.text
    assert [file.name for file in tmp_path.glob("*damaged*")] == []


async def test_it_may_be_closed_without_being_opened_and_twice(tmp_path: Path) -> None:
    app = App(tmp_path / "curves.sqlite")
    app.store.dispatch(JoinBegan(swarm=swarm("docs")))
    app.history.loss.add(NOW, 1.0)
    await app.keeper.close()
    await app.keeper.close()
    assert not (tmp_path / "curves.sqlite").exists()
