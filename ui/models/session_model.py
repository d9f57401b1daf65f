"""Connects the session to the widgets: states as a Qt signal, and tasks for what a click starts."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.common.background import end
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.session import Session
from app.state.events import ProblemRaised
from app.state.facts import Problem
from app.state.state import ContributorState
from app.swarm.membership import problem_of

log = logging.getLogger(__name__)

INTERVAL_MS = 100
"""A trainer reports more often than anyone can read: widgets are updated 10 times a second."""


class SessionModel(QObject):
    """Tells the widgets of new states, and owns the tasks that they start."""

    changed = Signal(object)
    """Carries a `ContributorState`: at once when phase or problem changed, else at most every
    `INTERVAL_MS`."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._shown = session.store.state
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer = QTimer(self, singleShot=True, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._tell)
        self._states = session.store.subscribe(self._on_state)

    @property
    def state(self) -> ContributorState:
        """The newest state; `changed` may not have been emitted for it yet."""
        return self.session.store.state

    def _on_state(self, state: ContributorState) -> None:
        if state.phase is not self._shown.phase or state.problem != self._shown.problem:
            self._tell()
        elif not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        self._timer.stop()
        self._shown = self.session.store.state
        self.changed.emit(self._shown)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine as a task. An exception in it is shown as a problem."""
        self._own(asyncio.get_running_loop().create_task(coroutine))

    def start(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Like `run`; returns the task, to be cancelled."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._own(task)
        return task

    def _own(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.raise_problem(error)

    def call(self, function: Callable[[], None]) -> None:
        """Call a plain function. An exception in it is shown as a problem."""
        with self.problems_shown():
            function()

    @contextlib.contextmanager
    def problems_shown(self) -> Iterator[None]:
        """What the block raises is shown as a problem, and never raised."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  the boundary of every action of the window
            self.raise_problem(error)

    def raise_problem(self, error: BaseException) -> None:
        """Show an error as a problem: a `UserFacingError` in its own words, any other as ours."""
        self.session.store.dispatch(ProblemRaised(problem=_problem_of(error)))

    async def close(self) -> None:
        """Cancel all tasks and unsubscribe from the session. May be called twice."""
        await end(*self._tasks)
        self._timer.stop()
        self._states.close()


def _problem_of(error: BaseException) -> Problem:
    if isinstance(error, UserFacingError):
        return problem_of(error)
    log.error("an action of the window failed", exc_info=error)
    return Problem(
        message=_("something went wrong in the app."),
        remedy=_("The log says more; training goes on if it was under way."),
    )
