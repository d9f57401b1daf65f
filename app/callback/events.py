"""Sends each change of the state as a server-sent event, for callers that don't want to poll."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi.sse import ServerSentEvent

from app.callback.node import Node
from app.callback.schemas import record_of
from app.common.errors import BusyError
from app.common.i18n import _
from app.state.store import ReadableStore
from app.tasks.task import Task
from app.tasks.tasks import Tasks

INTERVAL_SECONDS = 0.5
"""Shortest pause between events: the state changes faster than anybody reads."""

MOST_STREAMS = 16
"""Streams that may be open at the same time."""


class Events:
    """The open streams. closing: set when the app ends, which ends them.

    A stream begins with the current status. The ids of its events count from 1.
    """

    def __init__(
        self, store: ReadableStore, *, node: Node, tasks: Tasks, closing: asyncio.Event
    ) -> None:
        self._store = store
        self._node = node
        self._tasks = tasks
        self._closing = closing
        self._open = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one stream. Raises `BusyError` if all are taken."""
        if self._open >= MOST_STREAMS:
            raise BusyError(_("there are {count} streams already.").format(count=MOST_STREAMS))
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def stream(self, *, may_read: Callable[[], bool]) -> AsyncIterator[ServerSentEvent]:
        """Yield ``status`` after each change of the state and ``task`` after each of a task.

        may_read: asked before each of them; False ends the stream.
        """
        numbers = itertools.count(1)
        with self._changes() as changes:
            changes.status.set()
            while not self._closing.is_set() and may_read():
                for name, data in self._take(changes):
                    yield ServerSentEvent(data=data, event=name, id=str(next(numbers)))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL_SECONDS):
                        await self._closing.wait()
                await changes.any.wait()

    def _take(self, changes: "_Changes") -> Iterator[tuple[str, dict[str, Any]]]:
        changes.any.clear()
        if changes.status.is_set():
            changes.status.clear()
            yield "status", self.figures()
        tasks, changes.tasks = changes.tasks, {}
        for task in tasks.values():
            yield "task", {**record_of(task), "logs": task.logs[-1:]}

    def figures(self) -> dict[str, Any]:
        """The node's status and the figures of training."""
        state = self._store.state
        own, run = state.training, state.run
        return {
            **self._node.status(),
            "phase": state.phase.value,
            "run_id": state.swarm.run_id if state.swarm else None,
            "epoch": own.epoch if own and own.step else (run.epoch if run else None),
            "step": own.step if own else None,
            "loss": own.loss if own else None,
            "samples_per_second": own.samples_per_second if own else None,
            "tokens_per_second": own.tokens_per_second if own else None,
            "held_out_loss": state.evaluation.loss if state.evaluation else None,
            "swarm_held_out_loss": run.held_out_loss if run else None,
            "trainers": run.trainers if run else None,
        }

    @contextlib.contextmanager
    def _changes(self) -> Iterator["_Changes"]:
        changes = _Changes()
        subscriptions = (
            self._store.subscribe(lambda _state: changes.note_status()),
            self._tasks.subscribe(changes.note_task),
        )
        ending = asyncio.create_task(self._wake_at_the_end(changes))
        try:
            yield changes
        finally:
            ending.cancel()
            for each in subscriptions:
                each.close()

    async def _wake_at_the_end(self, changes: "_Changes") -> None:
        await self._closing.wait()
        changes.any.set()


class _Changes:
    """What has changed since a stream took the last changes."""

    def __init__(self) -> None:
        self.any = asyncio.Event()
        """Set when the status or a task has changed, or the app ends."""
        self.status = asyncio.Event()
        """Set when the status has changed."""
        self.tasks: dict[str, Task] = {}
        """The tasks that have changed, by id."""

    def note_status(self) -> None:
        self.status.set()
        self.any.set()

    def note_task(self, task: Task) -> None:
        self.tasks[task.id] = task
        self.any.set()
