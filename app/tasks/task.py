"""One task: what was asked for, how far it is, what happened."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from app.common.logs import redact
from app.state.state import ContributorState, Phase
from app.tasks.order import Interpretation, Order

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

LOG_LINES = 300
ALMOST = 99.9
"""Progress short of the end: 100 is only said of a task that is completed."""


class TaskStatus(StrEnum):
    """As callers know it."""

    SUBMITTED = "submitted"  # waits for the volunteer's word
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED)


class Task:
    """A task and its story. changed: told after each change.

    progress: 0 to 100, of the run's own stop condition. Times are UTC; started_at, ended_at and
    error are None until there is one.
    """

    def __init__(
        self,
        *,
        id: str,
        order: Order,
        meaning: Interpretation,
        changed: Callable[["Task"], None],
    ) -> None:
        self.id = id
        self.order = order
        self.meaning = meaning
        self.status = TaskStatus.SUBMITTED
        self.progress = 0.0
        self.created_at = datetime.now(UTC)
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.error: str | None = None
        self._logs: deque[str] = deque(maxlen=LOG_LINES)
        self._changed = changed
        self._phase: Phase | None = None
        self._round = -1
        self._trains_since: float | None = None
        self.note(f"submitted by {order.user_id} from {order.caller}")
        for line in meaning.assumed:
            self.note(line)

    @property
    def spec(self) -> "SwarmSpec":
        """What is trained."""
        return self.meaning.spec

    @property
    def endless(self) -> bool:
        """It goes on until somebody stops it."""
        stop = self.spec.training.stop
        return stop.epochs is None and stop.minutes is None

    @property
    def logs(self) -> list[str]:
        """The last lines, oldest first, each with its time."""
        return list(self._logs)

    def note(self, text: str) -> None:
        """Add a line to the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._logs.append(f"{now} {redact(' '.join(text.splitlines()))}")

    # --- its story

    def begin(self) -> None:
        """It is agreed to, and runs."""
        self.status, self.started_at = TaskStatus.RUNNING, datetime.now(UTC)
        self.note("running")
        self._changed(self)

    def complete(self) -> None:
        """Its stop condition is reached, or it was to go on until stopped, and is."""
        self.progress = 100.0
        self._end(TaskStatus.COMPLETED)

    def fail(self, error: str) -> None:
        """It ended before its goal; error: why."""
        self.error = error
        self._end(TaskStatus.FAILED)

    def _end(self, status: TaskStatus) -> None:
        self.status, self.ended_at = status, datetime.now(UTC)
        self.note(status.value if self.error is None else f"{status.value}: {self.error}")
        self._changed(self)

    def follow(self, state: ContributorState) -> None:
        """See how far the run is, and note what happens in it."""
        self._note_phase(state)
        self._note_round(state)
        progress = self._progress_in(state)
        if progress > self.progress:
            self.progress = progress
            self._changed(self)

    def _note_phase(self, state: ContributorState) -> None:
        flickers = {Phase.AVERAGING: Phase.TRAINING}
        phase = flickers.get(state.phase, state.phase)
        if phase is self._phase:
            return
        self._phase = phase
        self.note(phase.value)
        if phase is Phase.TRAINING and self._trains_since is None:
            self._trains_since = time.monotonic()
        elif phase is Phase.PREPARING:
            self._trains_since = None  # a fresh trainer counts its minutes anew

    def _note_round(self, state: ContributorState) -> None:
        own = state.training
        if own is None or own.last_round is None or own.last_round.epoch == self._round:
            return
        last = own.last_round
        self._round = last.epoch
        how = f"failed: {last.failure}" if last.failure else f"with {last.peers} peers"
        loss = "" if own.loss is None else f", loss {own.loss:.4f}"
        self.note(f"epoch {last.epoch} averaged {how} in {last.seconds:.2f} s{loss}")

    def _progress_in(self, state: ContributorState) -> float:
        stop, run = self.spec.training.stop, state.run
        shares = [0.0]
        if stop.epochs is not None and run is not None and self._trains_since is not None:
            filled = min(1.0, run.samples / self.spec.training.target_batch_size)
            shares.append((run.epoch + filled) / stop.epochs)
        if stop.minutes is not None and self._trains_since is not None:
            shares.append((time.monotonic() - self._trains_since) / 60 / stop.minutes)
        return min(round(100 * max(shares), 1), ALMOST)


class _ToTask(logging.Handler):
    def __init__(self, task: Task) -> None:
        super().__init__(logging.INFO)
        self._task = task

    def emit(self, record: logging.LogRecord) -> None:
        self._task.note(f"{record.name}: {record.getMessage()}"[:2000])


@contextlib.contextmanager
def sending_log_to(task: Task) -> Iterator[None]:
    """Let a task's log hold what its trainer says on stderr."""
    logger, handler = logging.getLogger("trainer"), _ToTask(task)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
