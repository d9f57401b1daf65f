"""Tasks from the question to the end, and who is asked."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import BusyError, ConsentError, JoinError
from app.state.state import Phase
from app.tasks.order import Order
from app.tasks.task import LOG_LINES, Task, TaskStatus
from app.tasks.tasks import MOST_KEPT, Consent, Tasks
from tests.support.processes.sessions import OTHER_ID, OfflineSession, Volunteer, train_body

SLOT = {"source": "slot", "label": "corpus"}


def order(*, caller: str = "127.0.0.1", extra: dict[str, Any] | None = None, **parts: Any) -> Order:
    return Order(caller=caller, extra=extra or {}, **train_body(**parts))


class Desk:
    """Tasks on a session that is offline."""

    def __init__(self, folder: Path, *, asks: bool = True, **settings: Any) -> None:
        self.session = OfflineSession(folder, **settings)
        self.volunteer = Volunteer()
        self.tasks = Tasks(self.session, volunteer=self.volunteer if asks else None)
        self.ended: asyncio.Queue[Task] = asyncio.Queue()
        self.tasks.subscribe(self._look)

    def _look(self, task: Task) -> None:
        if task.status.is_final:
            self.ended.put_nowait(task)

    async def trained(self, given: Order) -> Task:
        """Submit, agree, and wait for the trainer."""
        task = self.tasks.submit(given)
        self.volunteer.answers.put_nowait(True)
        await self.session.trains.wait()
        self.session.trains.clear()
        return task

    async def end(self) -> Task:
        return await asyncio.wait_for(self.ended.get(), 60)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "data")
    yield made
    await made.tasks.close()
    await made.session.close()


# --- consent -------------------------------------------------------------------------------------


async def test_nothing_happens_before_the_volunteers_word(desk: Desk) -> None:
    task = desk.tasks.submit(order())
    assert await desk.volunteer.asked.get() is task
    assert task.status is TaskStatus.SUBMITTED
    assert desk.session.peer.entered == []


async def test_refused_task_has_failed(desk: Desk) -> None:
    desk.tasks.submit(order())
    desk.volunteer.answers.put_nowait(False)
    task = await desk.end()
    assert (task.status, task.error) == (TaskStatus.FAILED, "The volunteer has refused it.")
    assert task.started_at is None
    assert desk.session.peer.entered == []


@pytest.mark.parametrize(
    ("consent", "backends", "caller", "data", "asked"),
    [
        ("ask", ("127.0.0.1",), "127.0.0.1", None, True),
        ("always", ("127.0.0.0/8",), "127.0.0.1", None, False),
        ("always", ("10.0.0.0/8",), "127.0.0.1", None, True),
        ("always", ("10.0.0.0/8",), "10.1.2.3", None, False),
        ("always", ("10.0.0.0/8",), "10.1.2.3", SLOT, True),
        ("always", ("127.0.0.1",), "127.0.0.1", SLOT, False),
        ("always", ("::1",), "::1", None, False),
        ("always", (), "127.0.0.1", None, True),
    ],
)
async def test_who_is_asked_about(
    tmp_path: Path,
    consent: str,
    backends: tuple[str, ...],
    caller: str,
    data: dict[str, Any] | None,
    asked: bool,
) -> None:
    desk = Desk(tmp_path / "data", consent=consent, consent_backends=backends)
    desk.session.bindings.give({"corpus": "~/diary.txt"})
    parts = {} if data is None else {"dataset_info": data}
    desk.tasks.submit(order(caller=caller, **parts))
    if asked:
        await asyncio.wait_for(desk.volunteer.asked.get(), 60)
    else:
        await asyncio.wait_for(desk.session.trains.wait(), 60)
        assert desk.volunteer.asked.empty()
    await desk.tasks.close()
    await desk.session.close()


async def test_where_nobody_can_be_asked_it_is_refused_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data", asks=False)
    with pytest.raises(ConsentError) as caught:
        desk.tasks.submit(order())
    assert "consent_backends" in caught.value.remedy
    await desk.session.change_settings({"consent": "always"})
    desk.tasks.submit(order())
    await desk.session.trains.wait()
    await desk.tasks.close()
    await desk.session.close()


def test_trusting_one_caller_trusts_no_other() -> None:
    consent = Consent(mode="ask", backends=("127.0.0.0/8",))
    first = consent.trusting("10.0.0.7")
    assert (first.mode, first.backends) == ("always", ("10.0.0.7",))
    both = first.trusting("10.0.0.8").trusting("10.0.0.8")
    assert both.backends == ("10.0.0.7", "10.0.0.8")


async def test_training_that_began_while_the_question_stood_goes_first(desk: Desk) -> None:
    desk.tasks.submit(order())
    await desk.volunteer.asked.get()
    await desk.session.training.start()
    desk.volunteer.answers.put_nowait(True)
    task = await desk.end()
    assert task.status is TaskStatus.FAILED
    assert task.error is not None
    assert "trains something else" in task.error
    assert desk.session.store.state.phase is Phase.PREPARING


# --- the end -------------------------------------------------------------------------------------


async def test_swarm_that_cannot_be_entered_fails_the_task(desk: Desk) -> None:
    desk.session.peer.failure = JoinError("nobody is there.", field="initial_peers")
    desk.tasks.submit(order())
    desk.volunteer.answers.put_nowait(True)
    task = await desk.end()
    assert task.error == "initial_peers: nobody is there."
    assert desk.tasks.active is None


async def test_volunteer_who_stops_training_ends_the_task(desk: Desk) -> None:
    await desk.trained(order())
    desk.session.trainer_reports(epoch=1)
    await desk.session.training.stop()
    task = await desk.end()
    assert (task.status, task.progress) == (TaskStatus.FAILED, 25.0)
    assert task.error == "Training was stopped before the task's end."


async def test_volunteer_who_leaves_ends_the_task(desk: Desk) -> None:
    await desk.trained(order())
    await desk.session.swarm.leave()
    assert (await desk.end()).error is not None


async def test_restart_of_the_trainer_is_no_end(desk: Desk) -> None:
    from app.state.events import TrainerGone
    from app.state.facts import Problem

    task = await desk.trained(order())
    desk.session.trainer_reports(epoch=1)
    desk.session.store.dispatch(TrainerGone(problem=Problem(message="killed."), restart_at=1e12))
    await asyncio.sleep(0)
    assert task.status is TaskStatus.RUNNING
    desk.session.trainer_ends("killed again.")
    await desk.session.training.start()
    desk.session.trainer_reports(epoch=4)
    desk.session.trainer_ends(completed=True)
    assert (await desk.end()).status is TaskStatus.COMPLETED


async def test_task_without_an_end_is_completed_by_who_stops_it(desk: Desk) -> None:
    task = await desk.trained(order(training_params={"target_batch_size": 256}))
    desk.session.trainer_reports(epoch=7)
    assert task.progress == 0
    await desk.tasks.stop()
    assert (task.status, task.progress) == (TaskStatus.COMPLETED, 100)


async def test_question_is_withdrawn_by_a_stop(desk: Desk) -> None:
    task = desk.tasks.submit(order())
    await desk.volunteer.asked.get()
    await desk.tasks.stop()
    assert (task.status, task.error) == (TaskStatus.FAILED, "It was stopped.")
    desk.tasks.submit(order())  # there is room again


async def test_join_under_way_is_ended_by_a_stop(desk: Desk) -> None:
    desk.session.peer.may_enter.clear()
    task = desk.tasks.submit(order())
    desk.volunteer.answers.put_nowait(True)
    await desk.session.peer.enters.wait()
    await desk.tasks.stop()
    assert task.status is TaskStatus.FAILED
    assert desk.session.store.state.phase is Phase.DISCONNECTED


async def test_closing_ends_what_is_open(desk: Desk) -> None:
    task = desk.tasks.submit(order())
    await desk.volunteer.asked.get()
    await desk.tasks.close()
    await desk.tasks.close()
    assert task.status is TaskStatus.FAILED


@pytest.mark.logs_error("a task failed")
async def test_defect_of_ours_fails_the_task_and_frees_the_place(desk: Desk) -> None:
    def broken() -> None:
        raise RuntimeError

    desk.session.peer.join = broken  # type: ignore[method-assign, assignment]
    desk.tasks.submit(order())
    desk.volunteer.answers.put_nowait(True)
    task = await desk.end()
    assert task.error is not None
    assert "log" in task.error
    await asyncio.sleep(0)
    assert desk.tasks.active is None


async def test_next_task_may_come_once_the_last_has_ended(desk: Desk) -> None:
    await desk.trained(order())
    with pytest.raises(BusyError):
        desk.tasks.submit(order(task_id="43"))
    desk.session.trainer_ends(completed=True)
    await desk.end()
    await asyncio.sleep(0)
    assert (await desk.trained(order(task_id="43"))).status is TaskStatus.RUNNING


async def test_only_so_many_tasks_are_remembered(desk: Desk) -> None:
    first = None
    for _ in range(MOST_KEPT + 5):
        task = desk.tasks.submit(order())
        first = first or task
        await desk.tasks.stop()
    assert first is not None
    assert desk.tasks.find(first.id) is None
    assert desk.tasks.find(task.id) is task


# --- what is trained, and what is told -----------------------------------------------------------


async def test_spec_without_peers_enters_the_network_that_we_are_in(desk: Desk) -> None:
    await desk.session.swarm.join(None)
    desk.session.sees_peer(last_seen=1.0)
    await desk.trained(order())
    spec = desk.session.swarm.spec
    assert spec is not None
    assert spec.initial_peers == (f"/ip4/10.0.0.7/tcp/8080/p2p/{OTHER_ID}",)


async def test_log_tells_the_story_in_order(desk: Desk) -> None:
    task = await desk.trained(order(user_id="eve\nadmin", training_params={}))
    logging.getLogger("trainer.app.trainer").warning("low on memory, token=abcdef")
    desk.session.trainer_reports(epoch=1)
    desk.session.trainer_ends(completed=True)
    await desk.end()
    text = [line.partition(" ")[2] for line in task.logs]
    assert text[0] == "submitted by eve admin from 127.0.0.1"
    assert "training_params.sequence_length is not given: using 128" in text
    assert "trainer.app.trainer: low on memory, token=[redacted]" in text
    order_of = [text.index(word) for word in ("running", "preparing", "training", "completed")]
    assert order_of == sorted(order_of)
    logging.getLogger("trainer").warning("too late")
    assert "too late" not in task.logs[-1]


async def test_only_the_last_lines_are_kept(desk: Desk) -> None:
    task = desk.tasks.submit(order())
    for number in range(LOG_LINES + 50):
        task.note(str(number))
    assert len(task.logs) == LOG_LINES
    assert task.logs[-1].endswith(f" {LOG_LINES + 49}")


async def test_minutes_are_progress_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.tasks.task.time.monotonic", lambda: now)
    task = await desk.trained(order(training_params={"stop": {"minutes": 10}}))
    desk.session.trainer_reports(epoch=0)
    now += 150
    desk.session.trainer_reports(epoch=1)
    assert task.progress == 25
    now += 6000
    desk.session.trainer_reports(epoch=2)
    assert task.progress == 99.9
