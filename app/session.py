"""The use cases: the only door for the window, headless and the callback."""

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from app import protocol
from app.errors import BusyError, TrainerError, UserFacingError
from app.history import History
from app.i18n import _
from app.instance import Instance
from app.machines import Machines
from app.membership import Membership, port_or_any, problem_of
from app.paths import Folders
from app.peer import load_hivemind
from app.protocol import EndReason
from app.settings import Settings
from app.stalls import log_stalls
from app.state import (
    ContributorState,
    DeviceChosen,
    Event,
    Problem,
    ProblemRaised,
    RestartCancelled,
    StopRequested,
    TrainerGone,
    TrainingRequested,
    after,
)
from app.supervisor import Outcome, Patience, Trainer, probe_devices

if TYPE_CHECKING:
    from app.spec import SwarmSpec

log = logging.getLogger(__name__)

Listener = Callable[[ContributorState], None]

CLOSE_SECONDS = 8.0
"""How long the trainer may take for its checkpoint when the app ends."""


class Session:
    """One contributor: its embedded peer, its trainer, its state."""

    def __init__(self, *, settings: Settings, folders: Folders) -> None:
        self.settings = settings
        self.folders = folders
        self.state = ContributorState(device=settings.device)
        self.history = History()
        self._listeners: list[Listener] = []
        self._instance = Instance(folders)
        self._membership = Membership(settings=settings, folders=folders, dispatch=self.dispatch)
        self.machines = Machines(
            settings=settings,
            key_file=folders.machine_key_file,
            history=self.history,
            node=lambda: self._membership.node,
            state=lambda: self.state,
        )
        self._trainer: Trainer | None = None
        self._stop_asked = False
        self._patience = Patience()
        self._tasks: set[asyncio.Task[None]] = set()
        self._restart: asyncio.Task[None] | None = None

    # --- state

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with each new state, on the loop's thread; returns the way out."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def dispatch(self, event: Event) -> None:
        """Let an event change the state, and tell everybody if it did."""
        before, self.state = self.state, after(self.state, event)
        self.history.record(event, time.time())
        if self.state.phase is not before.phase:
            log.info("%s", self.state.phase.value, extra={"monotonic": time.monotonic()})
        if self.state != before:
            for listener in tuple(self._listeners):
                listener(self.state)

    # --- life

    async def open(self, *, look_for_devices: bool = True) -> None:
        """Take the data folder, load hivemind, look which devices are there.

        look_for_devices: needed to show them; a trainer finds the one it is told by itself.

        Raises `BusyError` when another instance has the data folder.
        """
        await self._instance.take()
        if look_for_devices:
            self._probing = self._keep(self._probe_devices())
        if self.settings.debug:
            self._measuring = self._keep(log_stalls())
        await load_hivemind()
        # torch and hivemind are hundreds of thousands of objects that stay: each full collection
        # would look at them all and stall the loop for a quarter of a second.
        gc.collect()
        gc.freeze()
        log.info("hivemind is loaded", extra={"monotonic": time.monotonic()})
        self.machines.open()

    async def close(self) -> None:
        """End everything that was started, in order. May be called twice."""
        await self.stop_training(grace=CLOSE_SECONDS)
        await self.machines.leave()
        await self._membership.leave()
        await self.machines.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._instance.release()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task

    # --- devices

    async def _probe_devices(self) -> None:
        try:
            self.dispatch(await probe_devices())
        except TrainerError as error:
            log.warning("torch can't tell its devices: %s", error.text)
            self.dispatch(protocol.Devices(devices=(), torch_version=""))
            return
        if self.state.device == "auto":
            self.dispatch(DeviceChosen(device=self.state.devices[0].id))

    def choose_device(self, device: str) -> None:
        """Train on this device from the next start on."""
        if self.state.phase.has_trainer:
            raise BusyError(
                _("training is under way on another device."),
                field="device",
                remedy=_("Stop training first."),
            )
        self.dispatch(DeviceChosen(device=device))

    # --- the swarm

    async def join(self, spec: "SwarmSpec") -> bool:
        """Enter a swarm, leaving the one we are in; raises `JoinError`, which the state shows as
        well. False when `leave` came in between."""
        await self.leave()
        return await self._membership.join(spec)

    async def leave(self) -> None:
        """Stop training and leave the swarm; nothing happens outside of one."""
        await self.stop_training()
        await self.machines.leave()
        await self._membership.leave()

    # --- training

    async def start_training(self) -> None:
        """Start a trainer on the chosen device; returns when it trains, or has failed to.

        Raises `BusyError` when there is no swarm to train in, or a trainer already.
        """
        if not self._membership.joined:
            raise BusyError(
                _("there is no swarm to train in yet."), remedy=_("Join a swarm first.")
            )
        if self._trainer is not None or self.state.phase.has_trainer:
            raise BusyError(_("training is under way already."))
        self.cancel_restart()
        self._stop_asked = False
        self.dispatch(TrainingRequested(device=self.state.device))
        try:
            self._trainer = await Trainer.spawn(
                on_report=self.dispatch, arguments=("--debug",) if self.settings.debug else ()
            )
        except OSError as error:
            text = _("the trainer can't be started: {reason}.").format(reason=error)
            self.dispatch(TrainerGone(problem=Problem(message=text)))
            return
        self._following = self._keep(self._follow(self._trainer))
        if self._stop_asked:  # while it was spawned
            await self.stop_training()
            return
        with contextlib.suppress(TrainerError):  # `_follow` tells how it ended
            await self._trainer.command(protocol.Start, **self.training_order("trainer"))

    def training_order(self, role: str) -> dict[str, Any]:
        """The fields of `protocol.Start` for a peer of this machine in the swarm we are in."""
        spec = self._membership.spec
        assert spec is not None
        return {
            "spec": spec.to_json(),
            "initial_peers": (*self.state.addresses, *spec.initial_peers),
            "identity_file": str(self.folders.identity_file(role)),
            "checkpoint_dir": str(self.folders.checkpoints(spec.run_id) / role),
            "cache_dir": str(self.folders.cache / "data"),
            "device": self.state.device,
            "threads": self.settings.threads or max(1, (os.cpu_count() or 2) - 1),
            "host": "127.0.0.1" if spec.local else "0.0.0.0",
            "port": 0 if spec.local else port_or_any("server_port", self.settings.server_port),
        }

    async def pause_training(self) -> None:
        """Let the trainer rest; it stays in the swarm."""
        await self._tell(protocol.Pause)

    async def resume_training(self) -> None:
        """Let the trainer go on."""
        await self._tell(protocol.Resume)

    async def _tell(self, kind: type[protocol.Pause | protocol.Resume]) -> None:
        if self._trainer is None:
            raise BusyError(_("nothing is being trained."), remedy=_("Start training first."))
        with contextlib.suppress(TrainerError):  # `_follow` tells how it ended
            await self._trainer.command(kind)

    async def stop_training(self, grace: float | None = None) -> None:
        """End the trainer: it writes a checkpoint and leaves the run. Nothing happens when
        there is none. grace: seconds it may take before it is ended by force."""
        self.cancel_restart()
        self._stop_asked = True
        if self._trainer is None:
            return
        self.dispatch(StopRequested())
        await (self._trainer.stop() if grace is None else self._trainer.stop(grace))
        await self._following

    async def _follow(self, trainer: Trainer) -> None:
        """Wait for a trainer's end, and say or mend it."""
        started = time.monotonic()
        outcome = await trainer.outcome()
        self._trainer = None
        asked, lived = self._stop_asked, time.monotonic() - started
        delay = self._patience.wait_after(lived) if outcome.unexpected and not asked else None
        if delay is not None:
            self._restart = self._keep(self._restart_after(delay))
        self.dispatch(_gone(outcome, asked=asked, restart_in=delay))

    async def _restart_after(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._restart = None  # under way: no longer to be cancelled
        try:
            await self.start_training()
        except UserFacingError as error:
            self.dispatch(RestartCancelled())
            self.dispatch(ProblemRaised(problem=problem_of(error)))

    def cancel_restart(self) -> None:
        """Don't start the failed trainer again by itself."""
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()
            self.dispatch(RestartCancelled())


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the session failed", exc_info=error)


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
