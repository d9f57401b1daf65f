"""One task: what was asked for, its progress, and its log."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from app.common.logs import redact
from app.common.paths import without_home
from app.state.state import ContributorState, Phase
from app.tasks.order import Interpretation, Order

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

LOG_LINES = 300
ALMOST = 99.9
"""Highest progress, in percent, of a task that is not completed."""


class TaskStatus(StrEnum):
    """The statuses of the API's contract."""

    SUBMITTED = "submitted"  # waits for the volunteer's consent
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """The task has ended."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED)


class Task:
    """A task from its submission to its end.

    changed: called after each change of status or progress.

    progress: percent of the run's stop condition. created_at, started_at, ended_at: in UTC, None
    before it happened. error: why it failed, else None.
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
        """The spec of the run that is trained."""
        return self.meaning.spec

    @property
    def endless(self) -> bool:
        """It has no stop condition: it trains until it is stopped."""
        return self.spec.training.stop.is_never

    @property
    def logs(self) -> list[str]:
        """The last lines, oldest first, each with its time."""
        return list(self._logs)

    def note(self, text: str) -> None:
        """Add a line to the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._logs.append(f"{now} {_for_callers(' '.join(text.splitlines()))}")

    # --- from begin to end

    def begin(self) -> None:
        """Set it running, once the volunteer has agreed."""
        self.status, self.started_at = TaskStatus.RUNNING, datetime.now(UTC)
        self.note("running")
        self._changed(self)

    def complete(self) -> None:
        """End it as completed: its stop condition is reached, or an endless task was stopped."""
        self.progress = 100.0
        self._end(TaskStatus.COMPLETED)

    def fail(self, error: str) -> None:
        """End it as failed. error: why, for the caller."""
        self.error = _for_callers(error)
        self._end(TaskStatus.FAILED)

    def _end(self, status: TaskStatus) -> None:
        self.status, self.ended_at = status, datetime.now(UTC)
        self.note(status.value if self.error is None else f"{status.value}: {self.error}")
        self._changed(self)

    def follow(self, state: ContributorState) -> None:
        """Update the progress from a new state, and note phases and rounds in the log."""
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
            self._trains_since = None  # a new trainer counts its minutes from zero

    def _note_round(self, state: ContributorState) -> None:
        own = state.training
        if own is None or own.last_round is None or own.last_round.epoch == self._round:
            return
        last = own.last_round
        self._round = last.epoch
        how = f"failed: {last.failure}" if last.failure else f"with {last.peers} peers"
        how += f", {last.arrived:.0%} of the parts arrived" if last.arrived < 1.0 else ""
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


def _for_callers(text: str) -> str:
    """A text without what callers needn't know: secrets, and the user's name in paths."""
    return redact(without_home(text))


class _ToTask(logging.Handler):
    def __init__(self, task: Task) -> None:
        super().__init__(logging.INFO)
        self._task = task

    def emit(self, record: logging.LogRecord) -> None:
        self._task.note(f"{record.name}: {record.getMessage()}"[:2000])


@contextlib.contextmanager
def sending_log_to(task: Task) -> Iterator[None]:
    """Copy what the trainer writes on stderr into a task's log."""
    logger, handler = logging.getLogger("trainer"), _ToTask(task)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
