"""Starts, pauses and stops the trainers, and restarts them after an unexpected end."""

import asyncio
import contextlib
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any

from app.common.background import Background
from app.common.errors import BusyError, TrainerError, UserFacingError
from app.common.i18n import _
from app.common.paths import Folders, role_of
from app.organiser.files import OrganiserFiles
from app.protocol import EndReason
from app.state.events import (
    PauseChosen,
    PauseEnded,
    ReadingEnded,
    RestartCancelled,
    RestartPostponed,
    StopRequested,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Problem
from app.state.state import ContributorState, Phase
from app.state.store import Store
from app.swarm.bindings import Bindings
from app.swarm.membership import Membership, problem_of
from app.terms.terms import GB
from app.training.ensemble import Ensemble
from app.training.governor import Governor
from app.training.patience import MOST_CRASHES, Patience
from app.training.planned_start import PlannedStart
from app.training.reins import Reins
from app.training.slot_reading import SlotReading
from app.training.supervisor import Outcome

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)


class Training:
    """At most one trainer at a time for each chosen device, in the swarm that we are in.

    governor: judges whether the volunteer's terms allow training; each verdict is obeyed.
    bindings: the files for the swarm's slots.
    """

    def __init__(
        self,
        store: Store,
        *,
        folders: Folders,
        membership: Membership,
        governor: Governor,
        bindings: Bindings,
    ) -> None:
        self._store = store
        self._folders = folders
        self._membership = membership
        self._governor = governor
        self._slots = SlotReading(store, bindings)
        self._trainer: Ensemble | None = None
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self._restart = PlannedStart(self._start_again, background=self._background)
        self._spawning = asyncio.Lock()
        self._stops = 0  # so far; one more ends each start that is under way
        self._pause_ends = math.inf  # by the monotonic clock, which nobody sets back
        self._beginning: asyncio.Task[None] | None = None
        self._reins: Reins | None = None
        self._patience = Patience()
        governor.subscribe(self.obey)

    async def start(self) -> None:
        """Start a trainer on each chosen device, as soon as the terms allow it.

        Returns when they train, have failed, or wait for the terms, or when it was stopped.

        Raises `BusyError` when there is no swarm to train in, or a trainer already, and
        `UserFacingError` when a slot of the swarm has no file, or a wrong one.
        """
        stops = self._stops
        await self._governor.look()
        if stops != self._stops:
            return
        self._patience = Patience()
        self._store.dispatch(PauseEnded())  # a start by the user ends an earlier pause
        before = self._store.state
        try:
            await self._start(stops)
        finally:
            self._end_reading(before)

    async def _start(self, stops: int, *, by_itself: bool = False) -> None:
        """stops: how many there were when this start began; one more ends it.

        by_itself: nobody may be there to try again.
        """
        if stops != self._stops:
            return
        self._check_readiness()
        swarm = self._membership.spec
        assert swarm is not None
        spec = await self._slots.filled(swarm)
        if spec is None or stops != self._stops or self._membership.spec is not swarm:
            return
        self._restart.forget()  # this start takes its place
        if not self._store.state.may_train:
            self._store.dispatch(TrainingAwaited())
            return
        self._store.dispatch(TrainingRequested(device=self._store.state.device))
        async with self._spawning:
            trainer = await self._spawn(stops, by_itself=by_itself)
        if trainer is None or stops != self._stops:
            return  # `stop` waits for the lock, and ends the trainer
        self.obey()
        with contextlib.suppress(TrainerError):  # `_follow` reports how it ended
            places = range(len(self._store.state.chosen_devices))
            await trainer.start(
                [self.order(role_of(place), place=place, spec=spec) for place in places]
            )

    def _check_readiness(self) -> None:
        if self._membership.spec is None or not self._membership.joined:
            raise BusyError(
                _("there is no swarm to train in yet."), remedy=_("Join a swarm first.")
            )
        if self._trainer is not None or self._store.state.phase.has_trainer:
            raise BusyError(_("training is under way already."))

    async def _spawn(self, stops: int, *, by_itself: bool) -> Ensemble | None:
        try:
            trainer = await Ensemble.spawn(
                self._store.state.chosen_devices,
                on_event=self._store.dispatch,
                arguments=("--debug",) if self._store.settings.debug else (),
            )
        except OSError as error:
            text = _("the trainer can't be started: {reason}.").format(reason=error)
            again = by_itself and stops == self._stops  # memory or files may be short for a moment
            restart_at = self._restart.plan(self._patience.wait_without_start()) if again else None
            self._store.dispatch(TrainerGone(problem=Problem(message=text), restart_at=restart_at))
            return None
        self._trainer = trainer
        self._reins = Reins(self._store, trainer)
        self._following = self._background.start(self._follow(trainer, stops))
        return trainer

    def order(
        self, role: str, *, place: int = 0, spec: "SwarmSpec | None" = None
    ) -> dict[str, Any]:
        """The fields of `protocol.Start` for a peer of this machine in the swarm that we are in.

        spec: the swarm's, with files in its slots; None for a swarm without slots.
        role: names its identity file and checkpoints. place: index of its device among the chosen
        ones; the trainers share the CPU threads, and each has the port after the previous one's.
        """
        spec = spec or self._membership.spec
        state, settings = self._store.state, self._store.settings
        assert spec is not None
        devices = state.chosen_devices
        threads = settings.threads or max(1, (os.cpu_count() or 2) - 1)
        entries = (*state.addresses, *spec.initial_peers, *settings.initial_peers)
        return {
            "spec": spec.to_json(),
            "initial_peers": entries,
            "identity_file": str(self._folders.identity_file(role)),
            "checkpoint_dir": str(self._folders.checkpoints(spec.run_id) / role),
            "cache_dir": str(self._folders.cache / "data"),
            "roster_file": str(OrganiserFiles(self._folders.data).roster(spec.run_id)),
            "tuning_file": str(self._folders.tuning_file),
            "device": devices[place],
            "threads": max(1, threads // len(devices)),
            "evaluates": place == 0,
            "max_memory": settings.terms.max_memory * GB,
            "hub_sign_in": settings.hub_sign_in,
            "network": self._membership.network("server_port", place=place),
        }

    # --- rest and pace

    async def pause(self, seconds: float | None = None) -> None:
        """Pause the trainers, for some seconds or until `resume`; returns when they have paused.

        Raises `BusyError` when nothing is trained, nor about to be.
        """
        _check_training(self._store.state)
        self._pause_ends = math.inf if seconds is None else time.monotonic() + seconds
        self._store.dispatch(PauseChosen(until=None if seconds is None else time.time() + seconds))
        await self._tell_rest()

    async def start_paused(self, until: float | None) -> None:
        """Start as `start`, but not before a time, in seconds since the epoch, or before `resume`.

        Raises `BusyError` when there is no swarm to train in, or a trainer already.
        """
        self._check_readiness()
        self._patience = Patience()
        self._store.dispatch(TrainingAwaited())
        await self.pause(None if until is None else until - time.time())

    async def resume(self) -> None:
        """End the user's pause; returns when the trainers train, if the terms allow it.

        Raises `BusyError` when nothing is trained, nor about to be.
        """
        _check_training(self._store.state)
        self._store.dispatch(PauseEnded())
        self._start_awaited()
        await self._tell_rest()

    def obey(self) -> None:
        """Start, pause, resume or pace the trainers, as user and terms want now."""
        state = self._store.state
        until = state.paused_until
        if until is not None and (time.time() >= until or time.monotonic() >= self._pause_ends):
            self._store.dispatch(PauseEnded())
        self._start_awaited()
        if (reins := self._reins) is not None:
            self._telling = tuple(
                self._background.start(tell()) for tell in (reins.tell_rest, reins.tell_pace)
            )

    def _start_awaited(self) -> None:
        state = self._store.state
        is_awaited = state.phase is Phase.WAITING and state.may_train
        if is_awaited and (self._beginning is None or self._beginning.done()):
            self._beginning = self._background.start(self._start_by_itself(self._stops))

    async def _tell_rest(self) -> None:
        if self._reins is not None:
            await self._reins.tell_rest()

    # --- its end

    async def stop(self, grace: float | None = None) -> None:
        """Stop the trainers: they write a checkpoint, leave the run and end.

        grace: seconds they may take before they are ended by force. Nothing happens when there
        are none.
        """
        self._stops += 1
        self.cancel_restart()
        self._slots.cancel()
        async with self._spawning:
            trainer = self._trainer
        state = self._store.state
        if trainer is None and state.phase is not Phase.WAITING and not state.reads_files:
            return
        self._store.dispatch(StopRequested())
        if trainer is None:
            return
        await (trainer.stop() if grace is None else trainer.stop(grace))
        if self._following is not None:
            await self._following

    async def _follow(self, trainer: Ensemble, stops: int) -> None:
        """Wait for the trainers' end, then report it, and restart them if it was unexpected.

        stops: as for `_start`.
        """
        started = time.monotonic()
        outcome = await trainer.outcome()
        self._trainer = self._reins = None
        asked, lived = self._stops != stops, time.monotonic() - started
        delay = None
        if outcome.unexpected and not asked:
            delay = self._patience.wait_after(outcome, lived=lived)
        restart_at = None if delay is None else self._restart.plan(delay)
        given_up = self._patience.exhausted
        self._store.dispatch(_gone(outcome, asked=asked, restart_at=restart_at, given_up=given_up))

    async def _start_again(self) -> None:
        if self._membership.joined and self._membership.node is None:
            if self._store.state.phase is Phase.FAILED:
                self._postpone()  # our peer's daemon is being replaced: nobody could enter by it
            return
        await self._start_by_itself(self._stops)

    async def _start_by_itself(self, stops: int) -> None:
        before = self._store.state
        try:
            await self._start(stops, by_itself=True)
        except BusyError as error:
            log.info("no start: %s", error.text)  # the swarm is left, or the user was faster
        except UserFacingError as error:  # a disk with files for slots may be away for a moment
            if stops == self._stops:
                self._postpone(problem_of(error))
        finally:
            self._end_reading(before)

    def _end_reading(self, before: ContributorState) -> None:
        """After files were read and nothing follows, be as before."""
        if self._slots.is_under_way or not self._store.state.reads_files:
            return
        if before.restart_at is not None:
            self._postpone()
        elif before.phase is Phase.WAITING:
            self._store.dispatch(TrainingAwaited())
        else:
            self._store.dispatch(ReadingEnded())

    def _postpone(self, problem: Problem | None = None) -> None:
        self._restart.forget()
        restart_at = self._restart.plan(self._patience.wait_without_start())
        self._store.dispatch(RestartPostponed(restart_at=restart_at, problem=problem))

    def cancel_restart(self) -> None:
        """Don't start failed trainers again by themselves."""
        self._restart.forget()
        if self._store.state.restart_at is not None:
            self._stops += 1  # a restart that has just begun
            self._store.dispatch(RestartCancelled())


def _check_training(state: ContributorState) -> None:
    if not state.trains_or_will:
        raise BusyError(_("nothing is being trained."), remedy=_("Start training first."))


def _gone(
    outcome: Outcome, *, asked: bool, restart_at: float | None, given_up: bool
) -> TrainerGone:
    if asked or outcome.reason in (EndReason.STOPPED, EndReason.COMPLETED):
        return TrainerGone(completed=outcome.reason is EndReason.COMPLETED)
    field = outcome.problem.field if outcome.problem else ""
    remedy = outcome.problem.remedy if outcome.problem else ""
    if outcome.unexpected and given_up:
        remedy = _(
            "It ended {count} times in a row soon after its start. Collect diagnostics (menu"
            " Help), and report it."
        ).format(count=MOST_CRASHES)
    elif outcome.unexpected:
        remedy = remedy or _("It resumes from its last checkpoint.")
    return TrainerGone(
        problem=Problem(message=outcome.text, field=field, remedy=remedy),
        restart_at=restart_at,
    )
