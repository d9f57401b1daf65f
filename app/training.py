"""Starting, pausing and ending the trainer, and starting it again when it has died."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from app import protocol
from app.background import Background
from app.errors import BusyError, TrainerError, UserFacingError
from app.i18n import _
from app.membership import Membership, problem_of
from app.paths import Folders
from app.protocol import EndReason
from app.settings import Settings
from app.state import (
    ContributorState,
    Event,
    Problem,
    ProblemRaised,
    RestartCancelled,
    StopRequested,
    TrainerGone,
    TrainingRequested,
)
from app.supervisor import Outcome, Patience, Trainer

log = logging.getLogger(__name__)


class Training:
    """At most one trainer at a time, in the swarm that we are in.

    settings: those in force. state: returns the newest one. dispatch: told of all that changes.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        folders: Folders,
        membership: Membership,
        state: Callable[[], ContributorState],
        dispatch: Callable[[Event], None],
    ) -> None:
        self._settings = settings
        self._folders = folders
        self._membership = membership
        self._state = state
        self._dispatch = dispatch
        self._trainer: Trainer | None = None
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._spawning = asyncio.Lock()
        self._stop_asked = False
        self._patience = Patience()

    async def start(self) -> None:
        """Start a trainer on the chosen device; returns when it trains, or has failed to.

        Raises `BusyError` when there is no swarm to train in, or a trainer already.
        """
        self._patience = Patience()
        await self._start()

    async def _start(self) -> None:
        if self._membership.spec is None or not self._membership.joined:
            raise BusyError(
                _("there is no swarm to train in yet."), remedy=_("Join a swarm first.")
            )
        if self._trainer is not None or self._state().phase.has_trainer:
            raise BusyError(_("training is under way already."))
        self.cancel_restart()
        self._stop_asked = False
        self._dispatch(TrainingRequested(device=self._state().device))
        async with self._spawning:
            trainer = await self._spawn()
        if trainer is None or self._stop_asked:
            return  # what stops us waits for the lock
        with contextlib.suppress(TrainerError):  # `_follow` tells how it ended
            await trainer.command(protocol.Start, **self.order("trainer"))

    async def _spawn(self) -> Trainer | None:
        try:
            trainer = await Trainer.spawn(
                on_report=self._dispatch, arguments=("--debug",) if self._settings().debug else ()
            )
        except OSError as error:
            text = _("the trainer can't be started: {reason}.").format(reason=error)
            self._dispatch(TrainerGone(problem=Problem(message=text)))
            return None
        self._trainer = trainer
        self._following = self._background.start(self._follow(trainer))
        return trainer

    def order(self, role: str) -> dict[str, Any]:
        """The fields of `protocol.Start` for a peer of this machine in the swarm we are in."""
        spec, state, settings = self._membership.spec, self._state(), self._settings()
        assert spec is not None
        entries = (*state.addresses, *spec.initial_peers, *settings.initial_peers)
        return {
            "spec": spec.to_json(),
            "initial_peers": entries,
            "identity_file": str(self._folders.identity_file(role)),
            "checkpoint_dir": str(self._folders.checkpoints(spec.run_id) / role),
            "cache_dir": str(self._folders.cache / "data"),
            "device": state.device,
            "threads": settings.threads or max(1, (os.cpu_count() or 2) - 1),
            "network": self._membership.network("server_port"),
        }

    async def tell(self, kind: type[protocol.Pause | protocol.Resume]) -> None:
        """Pause or resume; returns when it took effect. Raises `BusyError` without a trainer."""
        if self._trainer is None:
            raise BusyError(_("nothing is being trained."), remedy=_("Start training first."))
        with contextlib.suppress(TrainerError):  # `_follow` tells how it ended
            await self._trainer.command(kind)

    async def stop(self, grace: float | None = None) -> None:
        """End the trainer: it writes a checkpoint and leaves the run. Nothing happens when
        there is none. grace: seconds it may take before it is ended by force."""
        self.cancel_restart()
        self._stop_asked = True
        async with self._spawning:
            trainer = self._trainer
        if trainer is None:
            return
        self._dispatch(StopRequested())
        await (trainer.stop() if grace is None else trainer.stop(grace))
        if self._following is not None:
            await self._following

    async def _follow(self, trainer: Trainer) -> None:
        """Wait for a trainer's end, and say or mend it."""
        started = time.monotonic()
        outcome = await trainer.outcome()
        self._trainer = None
        asked, lived = self._stop_asked, time.monotonic() - started
        delay = self._patience.wait_after(lived) if outcome.unexpected and not asked else None
        if delay is not None:
            self._restart = self._background.start(self._restart_after(delay))
        self._dispatch(_gone(outcome, asked=asked, restart_in=delay))

    async def _restart_after(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._restart = None  # under way: no longer to be cancelled
        try:
            await self._start()
        except UserFacingError as error:
            self._dispatch(RestartCancelled())
            self._dispatch(ProblemRaised(problem=problem_of(error)))

    def cancel_restart(self) -> None:
        """Don't start the failed trainer again by itself."""
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()
            self._dispatch(RestartCancelled())


def _gone(outcome: Outcome, *, asked: bool, restart_in: float | None) -> TrainerGone:
    if asked or outcome.reason in (EndReason.STOPPED, EndReason.COMPLETED):
        return TrainerGone(completed=outcome.reason is EndReason.COMPLETED)
    field = outcome.problem.field if outcome.problem else ""
    remedy = outcome.problem.remedy if outcome.problem else ""
    if outcome.unexpected:
        remedy = remedy or _("It resumes from its last checkpoint.")
    return TrainerGone(
        problem=Problem(message=outcome.text, field=field, remedy=remedy),
        restart_at=None if restart_in is None else time.time() + restart_in,
    )
