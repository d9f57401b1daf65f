"""The use cases: the only door for the window, headless and the callback."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import protocol
from app.backend.offers import Offers
from app.backend.reporting import Reporting, node_of
from app.common.background import Background
from app.common.errors import BusyError, TrainerError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.subscription import Subscription, subscribed
from app.contributions.recorder import Recorder
from app.desktop.updates import Updates
from app.lifecycle.handover import Receive
from app.lifecycle.instance import Instance
from app.lifecycle.stalls import log_stalls
from app.machine import gpu_runtime as runtime
from app.machine.devices import DeviceWatch
from app.machine.hardware import Probe, SystemProbe
from app.p2p.peer import load_hivemind
from app.settings import settings
from app.settings.settings import Settings
from app.state.events import DeviceChosen, Event, ReportingChanged
from app.state.history import History
from app.state.state import ContributorState
from app.state.transition import after
from app.swarm.connection_check import Finding, diagnose
from app.swarm.fleet_sync import FleetSync
from app.swarm.membership import Membership
from app.swarm.recents import Recents
from app.terms.sensors.sensors import Sensors
from app.training.governor import Governor
from app.training.supervisor import probe_devices
from app.training.training import Training

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

StateListener = Callable[[ContributorState], None]

CLOSE_SECONDS = 8.0
"""How long the trainer may take for its checkpoint when the app ends."""


class Session:
    """One contributor: its embedded peer, its trainer, its state.

    probe: what tells the terms of temperature and power; this machine's, unless said.
    """

    def __init__(self, *, settings: Settings, folders: Folders, probe: Probe | None = None) -> None:
        self.settings = settings
        self.folders = folders
        self.history = History()
        self.recents = Recents(folders.recents_file)
        self.devices = DeviceWatch()
        self.contributions = Recorder(settings=settings, folders=folders, dispatch=self.dispatch)
        self.reporting = _reporting_of(self)
        self.offers = Offers(settings.backend_url, ask=self.reporting.sessions)
        first, *others = settings.device.split(",")
        self.state = ContributorState(
            device=first,
            other_devices=tuple(others),
            terms=settings.terms,
            reporting=self.reporting.state,
        )
        self._listeners: list[StateListener] = []
        self._instance = Instance(folders)
        self.membership = Membership(
            settings=lambda: self.settings, folders=folders, dispatch=self.dispatch
        )
        self.machines = FleetSync(
            settings=lambda: self.settings,
            key_file=folders.machine_key_file,
            history=self.history,
            node=lambda: self.membership.node,
            state=lambda: self.state,
        )
        self._training = Training(
            settings=lambda: self.settings,
            folders=folders,
            membership=self.membership,
            state=lambda: self.state,
            dispatch=self.dispatch,
        )
        self._governor = _governor_of(self, self._training, probe or SystemProbe())
        self._updates = Updates(
            url=settings.update_url, key=settings.update_key, dispatch=self.dispatch
        )
        self._newest_join = object()
        self._leaving = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._background = Background()

    # --- state

    def subscribe(self, listener: StateListener) -> Subscription:
        """Call ``listener`` with each new state, on the loop's thread."""
        return subscribed(self._listeners, listener)

    def dispatch(self, event: Event) -> None:
        """Let an event change the state, and tell everybody if it did."""
        before, self.state = self.state, after(self.state, event)
        self.history.record(event, time.time())
        self.contributions.note(event, self.state)
        if self.state.phase is not before.phase:
            log.info("%s", self.state.phase.value, extra={"monotonic": time.monotonic()})
        if self.state != before:
            for listener in tuple(self._listeners):
                listener(self.state)

    # --- life

    async def open(self, *, look_for_devices: bool = True, receive: Receive | None = None) -> None:
        """Take the data folder, load hivemind, look which devices are there.

        look_for_devices: needed to show them; a trainer finds the one it is told by itself.
        receive: called with what a second start hands over, where a window can show it.

        Raises `BusyError` when another instance has the data folder, `LedgerError` or
        `MachineKeyError` when what it holds can't be used.
        """
        await self._instance.take(receive)
        await self.contributions.open()
        runtime.tell_trainers(self.folders)
        if look_for_devices:
            self._probing = self._background.start(self.look_for_devices())
        if self.settings.debug:
            self._measuring = self._background.start(log_stalls())
        await _load_hivemind()
        await self.reporting.open()
        log.info("hivemind is loaded", extra={"monotonic": time.monotonic()})
        self._governor.open()
        self.machines.open()
        self._updates.open()

    async def close(self) -> None:
        """End everything that was started, in order. May be called twice."""
        await self._instance.close_door()  # what comes now would be lost
        await self._governor.close()
        await self.membership.look_away()
        await self.stop_training(grace=CLOSE_SECONDS)
        await self.machines.leave()
        await self.membership.leave()
        await self.contributions.finish()
        await self.reporting.close()
        await self.contributions.close()
        await self.machines.close()
        await self.devices.close()
        await self._updates.close()
        await self._background.close()
        await self._instance.release()

    # --- devices

    async def look_for_devices(self) -> None:
        """Ask torch which devices it can train on, once more."""
        try:
            self.dispatch(await probe_devices())
        except TrainerError as error:
            log.warning("torch can't tell its devices: %s", error.text)
            self.dispatch(protocol.Devices(devices=(), torch_version=""))
            return
        if self.state.device == "auto":
            self.dispatch(DeviceChosen(device=self.state.devices[0].id))

    def choose_device(self, device: str, *others: str) -> None:
        """Train on this device from the next start on, and on the others as well."""
        if self.state.phase.has_trainer:
            raise BusyError(
                _("training is under way on another device."),
                field="device",
                remedy=_("Stop training first."),
            )
        self.dispatch(DeviceChosen(device=device, others=others))

    # --- settings

    async def change_settings(self, changes: dict[str, Any]) -> None:
        """Let other values be in force from now on, by field name, and keep them for later starts.

        Raises `SettingsError`, with nothing changed.
        """
        self.settings = settings.changed(self.settings, changes)
        async with self._saving:
            kept = self.settings.model_dump(mode="json", include=_named(changes))
            await asyncio.to_thread(settings.save, self.folders.settings_file, kept)
        if "publish_machine" in changes:
            await self.machines.set_publishing(self.settings.publish_machine)
        if "terms" in changes:
            await self._governor.look()

    # --- the swarm

    async def join(self, spec: "SwarmSpec | None", *, remember: bool = True) -> bool:
        """Enter a swarm, leaving the one we are in; raises `JoinError`, which the state shows as
        well. False when `leave`, or another `join`, came in between. None: the network alone,
        in no run. remember: among the recent ones."""
        mine = self._newest_join = object()
        await self.leave()
        if mine is not self._newest_join:
            return False
        joined = await self.membership.join(spec)
        if joined and remember and spec is not None:
            await self.recents.remember(spec)
        return joined

    def invitation(self) -> "SwarmSpec | None":
        """The spec by which others enter our swarm, at our addresses; None outside of one."""
        return self.membership.invitation(self.state.addresses)

    def reconnect(self) -> None:
        """Try at once to come back to the swarm, if it is lost, instead of waiting."""
        self.membership.reconnect()

    def diagnose(self) -> AsyncIterator[Finding]:
        """Why are we not connected? What is found, as it is: of the swarm that we are in, or
        tried to enter last."""
        known = self.machines.fleet.machines(time.time())
        versions = tuple(machine.record.app_version for machine in known)
        return diagnose(replace(self.membership.subject(), versions=versions))

    async def leave(self) -> None:
        """Stop training and leave the swarm; nothing happens outside of one."""
        async with self._leaving:  # one after the other: the second must not undo what follows
            await self.membership.look_away()
            await self.stop_training()
            await self.machines.leave()
            await self.membership.leave()

    # --- training

    async def start_training(self) -> None:
        """Start a trainer on the chosen device, as soon as the terms allow it; returns when it
        trains, or has failed to, or waits for that.

        Raises `BusyError` when there is no swarm to train in, or a trainer already.
        """
        await self._governor.look()
        await self._training.start()

    async def pause_training(self, seconds: float | None = None) -> None:
        """Let the trainer rest, for a time or until `resume_training`; it stays in the swarm."""
        await self._training.pause(seconds)

    async def resume_training(self) -> None:
        """Let the trainer go on, as far as the terms allow it."""
        await self._training.resume()

    async def stop_training(self, grace: float | None = None) -> None:
        """End the trainer: it writes a checkpoint and leaves the run. Nothing happens when
        there is none. grace: seconds it may take before it is ended by force."""
        await self._training.stop(grace)

    def cancel_restart(self) -> None:
        """Don't start the failed trainer again by itself."""
        self._training.cancel_restart()

    def training_order(self, role: str) -> dict[str, Any]:
        """The fields of `protocol.Start` for a peer of this machine in the swarm we are in."""
        return self._training.order(role)


async def _load_hivemind() -> None:
    """torch and hivemind are hundreds of thousands of objects that stay: each full collection
    would look at them all, and stall the loop for a fifth of a second."""
    gc.disable()
    try:
        await load_hivemind()
    finally:
        gc.enable()
    gc.freeze()


def _named(changes: dict[str, Any]) -> dict[str, Any]:
    """What pydantic is to write of the settings: of the terms, those that were changed."""
    return {
        name: set(value) if isinstance(value, dict) else True for name, value in changes.items()
    }


def _reporting_of(session: Session) -> Reporting:
    contributions = session.contributions
    return Reporting(
        url=session.settings.backend_url,
        folders=session.folders,
        ledger=contributions.ledger,
        node=lambda: node_of(
            session.state, current=contributions.current, public_key=contributions.public_key
        ),
        on_change=lambda reporting: session.dispatch(ReportingChanged(reporting=reporting)),
    )


def _governor_of(session: Session, training: Training, probe: Probe) -> Governor:
    return Governor(
        sensors=Sensors(
            probe=probe, folders=session.folders, transferred=session.contributions.transferred
        ),
        terms=lambda: session.settings.terms,
        state=lambda: session.state,
        dispatch=session.dispatch,
        obey=training.obey,
    )
