"""Passes what is new on to the trackers that the user has chosen, every few seconds.

A tracker never hurts training: what fails is told once, and isn't tried again until the user
changes the setting or joins a swarm again.
"""

import asyncio
import contextlib
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from app import __version__
from app.common.background import Background, survived
from app.common.i18n import _
from app.common.paths import Folders
from app.state.events import Event, JoinBegan, ProblemRaised
from app.state.facts import Problem, Swarm
from app.state.history import History
from app.state.state import ContributorState
from app.state.store import Store
from app.trackers.event_file import EventFile
from app.trackers.external import ExternalTracker, TrackerFailure, python_of
from app.trackers.point import Collector, TrackedPoint

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0

FINISH_SECONDS = 5.0
"""How long a tracker may upload when the app ends."""

UPLOAD_SECONDS = 60.0
"""How long it may when a swarm is left, beside whatever comes next."""

PROJECT = "cotrain"

TENSORBOARD = "tensorboard"
"""Folder in the data folder, with one folder for each run."""

TRACKER = "tracker"
"""Folder in the data folder, in which the user's tracker may write."""

LOG_NAME = "tracker.log"
"""In the folder of logs: what the user's tracker printed last."""

WRITER_ERRORS = (OSError, ImportError, AttributeError, TypeError, ValueError, RuntimeError)
"""What may come out of the library that writes TensorBoard's files, or of a broken install."""

NAMES = {"trackio": "Trackio", "wandb": "Weights & Biases"}
"""By the module's name, which is the setting's value too."""

Chosen = tuple[str, str]
"""A module, and the Python that has it."""


class Trackers:
    """Looks what is new from `open` to `close`."""

    def __init__(self, store: Store, *, history: History, folders: Folders) -> None:
        self._store = store
        self._folders = folders
        self._log_file = folders.logs / LOG_NAME
        self._collector = Collector(history, since=time.time())
        self._one_at_a_time = asyncio.Lock()
        self._swarm: Swarm | None = None  # whose values are passed on
        self._file: EventFile | None = None
        self._file_failed = False
        self._external: ExternalTracker | None = None
        self._chosen: Chosen | None = None  # what `_external` is, or was before it failed
        self._ending: set[ExternalTracker] = set()
        self._background = Background()

    def open(self) -> None:
        """Begin to look."""
        self._looking = self._background.start(self._keep_looking())

    def note(self, event: Event, _state: ContributorState) -> None:
        """Listen to events: a swarm is joined."""
        if isinstance(event, JoinBegan):
            self._swarm = event.swarm

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            with survived(log, "the newest values can't be passed on to the trackers"):
                await self.look()

    async def look(self) -> None:
        """Pass on what is new."""
        async with self._one_at_a_time:
            await self._look()

    async def _look(self, *, last: bool = False) -> None:
        """last: nobody is to start what would end at once."""
        point = self._collector.take(self._store.state, time.time())
        if self._swarm is not None and point is not None:
            await self._to_tensorboard(point, self._swarm)
            if not last:
                await self._choose_external(self._swarm)
            if self._external is not None:
                self._external.log(point)

    async def end_run(self) -> None:
        """Pass on the last values of the swarm, which is about to be left. Trackers may upload
        meanwhile."""
        async with self._one_at_a_time:
            with survived(log, "the last values can't be passed on to the trackers"):
                await self._look(last=True)
            self._swarm = None
            self._collector.restart()
            await self._close_file()
            self._end_external()
            self._file_failed, self._chosen = False, None

    async def close(self) -> None:
        """Pass on the last values, and end the trackers. May be called twice, also unopened."""
        await self.end_run()
        await asyncio.gather(*(each.finish(grace=FINISH_SECONDS) for each in self._ending))
        await self._background.close()

    def _tell(self, problem: Problem) -> None:
        log.warning("%s: %s %s", problem.field, problem.message, problem.remedy)
        self._store.dispatch(ProblemRaised(problem=problem))

    # --- TensorBoard

    async def _to_tensorboard(self, point: TrackedPoint, swarm: Swarm) -> None:
        if not self._store.settings.tensorboard:
            await self._close_file()
            self._file_failed = False
            return
        if self._file_failed:
            return
        self._file_failed = True  # until it has succeeded
        folder = self._folders.data / TENSORBOARD / swarm.run_id
        try:
            if self._file is None:
                self._file = await asyncio.to_thread(EventFile, folder)
            await asyncio.to_thread(self._file.add, point)
            self._file_failed = False
        except WRITER_ERRORS as error:
            await self._close_file()
            self._tell(_not_written(folder, error))

    async def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(*WRITER_ERRORS):  # told when it was written
                await asyncio.to_thread(file.close)

    # --- Trackio, Weights & Biases

    async def _choose_external(self, swarm: Swarm) -> None:
        settings = self._store.settings
        module = settings.tracker if settings.tracker != "none" else ""
        chosen = (module, python_of(settings.tracker_python)) if module else None
        if chosen != self._chosen:
            self._end_external()
            self._chosen = chosen
            if chosen is not None:
                self._external = await self._start(*chosen, swarm)

    async def _start(self, module: str, python: str, swarm: Swarm) -> ExternalTracker | None:
        return await ExternalTracker.start(
            module,
            python=python,
            arguments=_begin(swarm),
            folder=self._folders.data / TRACKER,
            log_file=self._log_file,
            on_failure=partial(self._failed, module),
        )

    def _failed(self, module: str, failure: TrackerFailure) -> None:
        self._tell(_problem_of(failure, module, self._log_file))

    def _end_external(self) -> None:
        external, self._external = self._external, None
        if external is not None:
            self._ending.add(external)
            self._finishing = self._background.start(self._finish(external))

    async def _finish(self, external: ExternalTracker) -> None:
        await external.finish(grace=UPLOAD_SECONDS)
        self._ending.discard(external)


def _begin(swarm: Swarm) -> dict[str, Any]:
    """The arguments of ``init``, which all trackers have in common. Each start is a run of its own
    there, since not all of them can go on with an earlier one; the group holds them together."""
    return {
        "project": PROJECT,
        "name": f"{swarm.run_id} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        "group": swarm.run_id,
        "config": {
            "run_id": swarm.run_id,
            "title": swarm.title,
            "model_type": swarm.model_type,
            "dataset": swarm.dataset,
            "target_batch_size": swarm.target_batch_size,
            "app_version": __version__,
        },
    }


def _not_written(folder: Path, error: Exception) -> Problem:
    reason = error.strerror if isinstance(error, OSError) else None
    return Problem(
        message=_("TensorBoard's files can't be written: {reason}.").format(
            reason=reason or str(error) or type(error).__name__
        ),
        field=str(folder),
        remedy=_("Training goes on. Make room, then switch them off and on again."),
    )


def _problem_of(failure: TrackerFailure, module: str, log_file: Path) -> Problem:
    name = NAMES.get(module, module)
    match failure.kind:
        case "python":
            return Problem(
                message=_("{python} can't be started: {reason}.").format(
                    python=failure.python, reason=failure.reason
                ),
                field="tracker_python",
                remedy=_("Training goes on. Name the Python in which {name} is installed.").format(
                    name=name
                ),
            )
        case "missing":
            return Problem(
                message=_("{name} isn't installed in {python}.").format(
                    name=name, python=failure.python
                ),
                field="tracker",
                remedy=_(
                    "Training goes on. Install it there ({command}), or name another Python."
                ).format(command=f"{failure.python} -m pip install {module}"),
            )
        case "failed":
            return Problem(
                message=_("{name} has ended: {reason}.").format(
                    name=name, reason=failure.reason.rstrip(".")
                ),
                field="tracker",
                remedy=_("Training goes on. What it printed is in {file}.").format(file=log_file),
            )
