"""The use cases: the only door for the window, headless and the callback."""

import asyncio
import contextlib
import itertools
import logging
import os
import subprocess
import time
from collections.abc import Callable, Coroutine
from typing import Any

import filelock

from app import processes, protocol
from app.errors import BusyError, TrainerError, UserFacingError
from app.history import History
from app.i18n import _
from app.network import free_port
from app.paths import Folders
from app.peer import EmbeddedPeer, load_hivemind
from app.protocol import EndReason
from app.settings import Settings
from app.spec import SwarmSpec
from app.stalls import log_stalls
from app.state import (
    ContributorState,
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    PeersListed,
    Phase,
    Problem,
    RestartCancelled,
    RunObserved,
    StopRequested,
    Swarm,
    TrainerGone,
    TrainingRequested,
    after,
)
from app.supervisor import Outcome, Trainer, probe_devices

log = logging.getLogger(__name__)

Listener = Callable[[ContributorState], None]

OBSERVE_SECONDS = 2.0
CLOSE_SECONDS = 8.0
"""How long the trainer may take for its checkpoint when the app ends."""

RESTART_SECONDS = (3.0, 10.0, 30.0)
"""Waits before an unexpectedly ended trainer is started again; then someone must look."""

STEADY_SECONDS = 120.0
"""A trainer that ran so long makes earlier failures forgotten."""

REJOIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


class Session:
    """One contributor: its embedded peer, its trainer, its state."""

    def __init__(self, *, settings: Settings, folders: Folders) -> None:
        self.settings = settings
        self.folders = folders
        self.state = ContributorState(device=settings.device)
        self.history = History()
        self._listeners: list[Listener] = []
        self._peer = EmbeddedPeer(folders.identity_file("app"))
        self._spec: SwarmSpec | None = None
        self._trainer: Trainer | None = None
        self._failures = 0
        self._lock = filelock.FileLock(folders.lock_file)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._observer: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None

    # --- state

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with each new state, on the loop's thread; returns the way out."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def dispatch(self, event: Event) -> None:
        """Let an event change the state and tell everybody."""
        before, self.state = self.state, after(self.state, event)
        self.history.record(event, time.time())
        if self.state.phase is not before.phase:
            log.info("%s", self.state.phase.value, extra={"monotonic": time.monotonic()})
        if self.state is not before:
            for listener in tuple(self._listeners):
                listener(self.state)

    # --- life

    async def open(self) -> None:
        """Take the data folder, end what a crashed run left, look which devices are there.

        Raises `BusyError` when another instance has the data folder.
        """
        self.folders.create()
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise BusyError(
                _("another CoTrain Contributor runs with this data folder."),
                field=str(self.folders.data),
                remedy=_("Close it first, or give this one another folder with --data-dir."),
            ) from error
        swept = await asyncio.to_thread(processes.sweep_last_run, self.folders.instance_file)
        if swept:
            log.warning("ended what an earlier run left behind: processes %s", swept)
        token = processes.mark_children(self.folders.instance_file)
        self._guardian = processes.start_guardian(token)
        self._probe = self._keep(self._probe_devices())
        if self.settings.debug:
            self._measuring = self._keep(log_stalls())
        await load_hivemind()
        log.info("hivemind is loaded", extra={"monotonic": time.monotonic()})

    async def close(self) -> None:
        """End everything that was started, in order. May be called twice."""
        self.cancel_restart()
        if self._trainer is not None:
            await self.stop_training(grace=CLOSE_SECONDS)
        await self._stop_observing()
        await self._peer.leave()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._guardian is not None:
            guardian, self._guardian = self._guardian, None
            assert guardian.stdin is not None
            guardian.stdin.close()
            await asyncio.to_thread(guardian.wait)
        self._lock.release()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the session failed", exc_info=error)

    # --- devices

    async def _probe_devices(self) -> None:
        try:
            self.dispatch(await probe_devices())
        except TrainerError as error:
            log.warning("torch can't tell its devices: %s", error.text)
            self.dispatch(protocol.Devices(devices=(), torch_version=""))
            return
        known = {device.id for device in self.state.devices}
        if self.state.device not in known and self.settings.device == "auto":
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

    async def join(self, spec: SwarmSpec) -> None:
        """Enter a swarm; raises `JoinError`, which the state shows as well."""
        if self._peer.joined:
            await self.leave()
        self._spec = spec
        self.dispatch(JoinBegan(swarm=_swarm_of(spec)))
        try:
            await self._enter(spec)
        except UserFacingError as error:
            self.dispatch(JoinFailed(problem=_problem_of(error)))
            raise
        self._observer = self._keep(self._observe())

    async def _enter(self, spec: SwarmSpec) -> None:
        port = 0 if spec.local else self._port("dht_port", self.settings.dht_port)
        presence = await self._peer.join(
            spec, initial_peers=(*spec.initial_peers, *self.settings.initial_peers), port=port
        )
        log.info("in the swarm %s as %s", spec.run_id, presence.peer_id)
        self.dispatch(Joined(peer_id=presence.peer_id, addresses=presence.addresses))

    def _port(self, name: str, wanted: int) -> int:
        port = free_port(wanted)
        if port != wanted:
            log.warning("%s %d is taken by another program: using any free port", name, wanted)
        return port

    async def leave(self) -> None:
        """Stop training and leave the swarm."""
        self.cancel_restart()
        await self.stop_training()
        await self._stop_observing()
        await self._peer.leave()
        self._spec = None
        self.dispatch(Left())

    async def _stop_observing(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.cancel()
            await asyncio.gather(observer, return_exceptions=True)

    async def _observe(self) -> None:
        """Look at the swarm every other second; come back when our daemon has died."""
        while True:
            try:
                self.dispatch(PeersListed(peers=await self._peer.peers()))
                self.dispatch(RunObserved(run=await self._peer.observe()))
            except Exception as error:  # noqa: BLE001  hivemind's calls fail in many ways
                log.warning("can't read the swarm's records: %r", error)
            if not self._peer.alive:
                await self._reenter()
            await asyncio.sleep(OBSERVE_SECONDS)

    async def _reenter(self) -> None:
        log.warning("the peer-to-peer daemon ended: joining again")
        assert self._spec is not None
        for attempt in itertools.count():
            await self._peer.leave()
            await asyncio.sleep(REJOIN_SECONDS[min(attempt, len(REJOIN_SECONDS) - 1)])
            try:
                await self._enter(self._spec)
            except UserFacingError as error:
                log.warning("joining again failed: %s", error.text)
            else:
                return

    # --- training

    async def start_training(self) -> None:
        """Start a trainer on the chosen device; returns when it trains, or has failed to.

        Raises `BusyError` when there is no swarm to train in, or a trainer already.
        """
        if self._spec is None or not self._peer.joined:
            raise BusyError(
                _("there is no swarm to train in yet."), remedy=_("Join a swarm first.")
            )
        if self._trainer is not None:
            raise BusyError(_("training is under way already."))
        self.cancel_restart()
        self.dispatch(TrainingRequested(device=self.state.device))
        self._trainer = await Trainer.spawn(on_report=self.dispatch)
        self._following = self._keep(self._follow(self._trainer))
        with contextlib.suppress(TrainerError):  # `_follow` tells how it ended
            await self._trainer.command(protocol.Start, **self.training_order("trainer"))

    def training_order(self, role: str) -> dict[str, Any]:
        """The fields of `protocol.Start` for a peer of this machine in the swarm we are in."""
        assert self._spec is not None
        spec = self._spec
        return {
            "spec": spec.to_json(),
            "initial_peers": (*self.state.addresses, *spec.initial_peers),
            "identity_file": str(self.folders.identity_file(role)),
            "checkpoint_dir": str(self.folders.checkpoints(spec.run_id) / role),
            "cache_dir": str(self.folders.cache / "data"),
            "device": self.state.device,
            "threads": self.settings.threads or max(1, (os.cpu_count() or 2) - 1),
            "host": "127.0.0.1" if spec.local else "0.0.0.0",
            "port": 0 if spec.local else self._port("server_port", self.settings.server_port),
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
        with contextlib.suppress(TrainerError):
            await self._trainer.command(kind)

    async def stop_training(self, grace: float | None = None) -> None:
        """End the trainer: it writes a checkpoint and leaves the run. Nothing happens when
        there is none. grace: seconds it may take before it is ended by force."""
        self.cancel_restart()
        if self._trainer is None:
            return
        self.dispatch(StopRequested())
        await (self._trainer.stop() if grace is None else self._trainer.stop(grace))

    async def _follow(self, trainer: Trainer) -> None:
        """Wait for a trainer's end, and say or mend it."""
        started = time.monotonic()
        outcome = await trainer.outcome()
        self._trainer = None
        asked = self.state.phase is Phase.STOPPING
        if time.monotonic() - started > STEADY_SECONDS:
            self._failures = 0
        delay = self._restart_delay() if outcome.unexpected and not asked else None
        if delay is not None:
            self._restart = self._keep(self._restart_after(delay))
        self.dispatch(_gone(outcome, asked=asked, restart_in=delay))

    def _restart_delay(self) -> float | None:
        """Seconds until the next try, ever longer; None when there were too many."""
        if self._failures >= len(RESTART_SECONDS):
            return None
        self._failures += 1
        return RESTART_SECONDS[self._failures - 1]

    async def _restart_after(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._restart = None  # under way: no longer to be cancelled
        await self.start_training()

    def cancel_restart(self) -> None:
        """Don't start the failed trainer again by itself."""
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()
            self.dispatch(RestartCancelled())


def _swarm_of(spec: SwarmSpec) -> Swarm:
    return Swarm(
        run_id=spec.run_id,
        title=spec.name,
        model_type=spec.model.model_type,
        dataset=getattr(spec.data, "name", spec.data.source),
        target_batch_size=spec.training.target_batch_size,
    )


def _problem_of(error: UserFacingError) -> Problem:
    return Problem(message=error.message, field=error.field, remedy=error.remedy)


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
