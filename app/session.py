"""One contributor: puts the parts of the app together, opens and closes them in order.

Front ends (the window, headless, the local API) work with the parts; the session itself has the
use cases that need several of them.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import protocol
from app.alerts.alerter import FILE_NAME as ALERTS
from app.alerts.alerter import Alerter
from app.archive.keeper import ArchiveKeeper
from app.backend.offers import Offers
from app.backend.reporting import Reporting, reporting_at_start
from app.common.background import Background
from app.common.errors import BusyError, TrainerError
from app.common.i18n import _
from app.common.paths import Folders
from app.contributions.recorder import Recorder
from app.curves.keeper import CurveKeeper
from app.curves.storage import FILE_NAME as CURVES
from app.desktop.updates import Updates
from app.generation.generation import Generation
from app.lifecycle.handover import Receive
from app.lifecycle.instance import Instance
from app.lifecycle.stalls import log_stalls
from app.machine import gpu_runtime as runtime
from app.machine.devices import DeviceWatch
from app.machine.hardware import Probe, SystemProbe
from app.p2p.peer import load_hivemind
from app.settings import loading
from app.settings.settings import Settings
from app.state.events import DeviceChosen, Event
from app.state.history import History
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.bindings import Bindings
from app.swarm.connection_check import Finding, diagnose
from app.swarm.fleet_sync import FleetSync
from app.swarm.look import SeenFromOutside, look
from app.swarm.membership import Membership
from app.swarm.organisation import Organisation
from app.swarm.recents import Recents
from app.swarm.way_back import FILE_NAME as WAY_BACK
from app.swarm.way_back import WayBack
from app.terms.sensors.sensors import Sensors
from app.timeline.keeper import FILE_NAME as TIMELINE
from app.timeline.keeper import TimelineKeeper
from app.timeline.timeline import Timeline
from app.trackers.trackers import Trackers
from app.training.governor import Governor
from app.training.supervisor import probe_devices
from app.training.training import Training

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

CLOSE_SECONDS = 8.0
"""How long the trainer may take for its checkpoint when the app ends."""


class Session:
    """The parts of one contributor, from `open` to `close`.

    store: settings and state; every part reads it, and changes the state by events.
    history: what the charts show. curves: keeps the charts' curves on the disk.
    timeline: what happened, with times.
    recents: swarms joined before. devices: live hardware readings.
    bindings: the files that fill the slots of swarms.
    contributions: measures what this machine gives. account: the account at the backend, and the
    reporting to it. offers: the swarms that the backend has. swarm: joining and leaving a swarm.
    organisation: whom the swarm belongs to, and who may take part.
    machines: the swarm's machines. archive: their figures over months.
    alerts: tells what is wrong with them. training: starts, pauses and stops the trainers.
    generation: writes texts with the swarm's model. way_back: to the swarm of the last run.
    """

    def __init__(self, *, settings: Settings, folders: Folders, probe: Probe | None = None) -> None:
        """probe: measures temperature and power for the terms; this machine's by default."""
        self.folders = folders
        self.store = store = Store(settings=settings, state=_state_at_start(settings))
        self.history = History()
        self.curves = CurveKeeper(self.history, file=folders.data / CURVES, dispatch=store.dispatch)
        self.timeline = Timeline()
        self._timeline_keeper = TimelineKeeper(self.timeline, file=folders.data / TIMELINE)
        self.recents = Recents(folders.recents_file)
        self.bindings = Bindings(folders.slots_file)
        self.devices = DeviceWatch()
        self.contributions = Recorder(store, folders=folders)
        self.account = Reporting(store, folders=folders, contributions=self.contributions)
        self.offers = Offers(settings.backend_url, ask=self.account.sessions)
        self.organisation = Organisation(store, folders=folders)
        self.swarm = Membership(
            store,
            folders=folders,
            recents=self.recents,
            organisation=self.organisation,
            before_leaving=self._end_what_needs_the_swarm,
        )
        self.machines = FleetSync(
            store, membership=self.swarm, history=self.history, key_file=folders.machine_key_file
        )
        self.archive = ArchiveKeeper(store, machines=self.machines, folder=folders.data)
        self.alerts = Alerter(store, machines=self.machines, file=folders.data / ALERTS)
        self._governor = Governor(
            store,
            sensors=Sensors(
                probe=probe or SystemProbe(),
                folders=folders,
                transferred=self.contributions.transferred,
            ),
        )
        self.training = Training(
            store,
            folders=folders,
            membership=self.swarm,
            governor=self._governor,
            bindings=self.bindings,
        )
        self.way_back = WayBack(
            store,
            file=folders.data / WAY_BACK,
            recents=self.recents,
            membership=self.swarm,
            train=self.training.start,
            pause=self.training.start_paused,
        )
        self._trackers = Trackers(store, history=self.history, folders=folders)
        self.generation = Generation(store, folders=folders, bindings=self.bindings)
        self._updates = Updates(store)
        self._instance = Instance(folders)
        self._saving = asyncio.Lock()
        self._unsaved: dict[str, Any] = {}  # settings to be saved still, as pydantic includes them
        self._background = Background()
        self._listen()

    def _listen(self) -> None:
        """First who derives something from the events, then who keeps it."""
        for note in (
            self._record,
            self.curves.note,
            self.timeline.note,
            self._timeline_keeper.note,
            self._trackers.note,
            self.contributions.note,
            self.way_back.note,
        ):
            self.store.subscribe_to_events(note)

    def _record(self, event: Event, state: ContributorState) -> None:
        batch = state.swarm.target_batch_size if state.swarm is not None else 0
        self.history.record(event, time.time(), batch=batch)

    # --- open and close

    async def open(self, *, look_for_devices: bool = True, receive: Receive | None = None) -> None:
        """Take the data folder, load hivemind, look which devices are there.

        look_for_devices: only needed to show them; a trainer finds its own device.
        receive: called with what a second start hands over, where a window can show it.

        Raises `BusyError` when another instance has the data folder, `DatabaseError` or
        `MachineKeyError` when its ledger or key can't be used.
        """
        await self._instance.take(receive)
        await self.contributions.open()
        await self.curves.open()
        await self._timeline_keeper.open()
        await self.archive.open()
        await self.alerts.open()
        await self.bindings.open()
        runtime.tell_trainers(self.folders)
        if look_for_devices:
            self._probing = self._background.start(self.look_for_devices())
        if self.store.settings.debug:
            self._measuring = self._background.start(log_stalls())
        await _load_hivemind()
        await self.account.open()
        log.info("hivemind is loaded", extra={"monotonic": time.monotonic()})
        self._governor.open()
        self.machines.open()
        self._trackers.open()
        self._updates.open()

    async def open_account(self) -> None:
        """Open no more than signing in or out at the backend needs: hivemind isn't loaded.

        Raises as `open` does.
        """
        await self._instance.take(None)
        await self.contributions.open()
        await self.account.open()

    async def close(self) -> None:
        """End everything that was started, in order. May be called twice."""
        await self._instance.close_listener()  # a hand-over that came now would be lost
        await self.way_back.close()
        await self._governor.close()
        await self.generation.close()
        await self.swarm.look_away()
        await self.training.stop(grace=CLOSE_SECONDS)
        await self._trackers.close()
        await self.swarm.leave()
        await self.curves.close()
        await self._timeline_keeper.close()
        await self.archive.close()
        await self.alerts.close()
        await self.contributions.finish()
        await self.account.close()
        await self.contributions.close()
        await self.machines.close()
        await self.devices.close()
        await self._updates.close()
        await self._background.close()
        await self._instance.release()

    async def _end_what_needs_the_swarm(self) -> None:
        """Called by `Membership.leave` while the swarm can still be reached."""
        await self.generation.close()
        await self.training.stop()
        await self._trackers.end_run()
        await self.archive.save()
        await self.machines.leave()

    # --- use cases of several parts

    async def change_settings(self, changes: dict[str, Any]) -> None:
        """Put other values in force, by field name, and save them for later starts.

        Raises `SettingsError`, with nothing changed; `FolderError` where they are in force, but
        can't be saved yet: they are saved with the next change.
        """
        changed = loading.changed(self.store.settings, changes)
        self.store.replace_settings(changed)
        try:
            async with self._saving:
                self._unsaved = _with(self._unsaved, changes)
                kept = self.store.settings.model_dump(mode="json", include=self._unsaved)
                await asyncio.to_thread(loading.save, self.folders.settings_file, kept)
                self._unsaved = {}
        finally:
            await self._obey_changes(changes)

    async def _obey_changes(self, changes: dict[str, Any]) -> None:
        if "publish_machine" in changes:
            await self.machines.set_publishing(self.store.settings.publish_machine)
        if "terms" in changes:
            await self._governor.look()

    async def lift_terms(self, seconds: float) -> None:
        """Train for some seconds although the volunteer's terms of convenience forbid it."""
        await self._governor.lift(seconds)

    async def look_for_devices(self) -> None:
        """Ask torch which devices it can train on, once more."""
        try:
            self.store.dispatch(await probe_devices())
        except TrainerError as error:
            log.warning("torch can't tell its devices: %s", error.text)
            self.store.dispatch(protocol.Devices(devices=(), torch_version=""))
            return
        if self.store.state.device == "auto":
            self.store.dispatch(DeviceChosen(device=self.store.state.devices[0].id))

    def choose_device(self, device: str, *others: str) -> None:
        """Train on this device from the next start on, and on the others as well.

        Raises `BusyError` while a trainer runs.
        """
        if self.store.state.phase.has_trainer:
            raise BusyError(
                _("training is under way on another device."),
                field="device",
                remedy=_("Stop training first."),
            )
        self.store.dispatch(DeviceChosen(device=device, others=others))

    def check_connection(self) -> AsyncIterator[Finding]:
        """Why are we not connected? Yields each finding as it is made, about the swarm that we
        are in or tried to enter last."""
        known = self.machines.fleet.machines(time.time())
        versions = tuple(machine.record.app_version for machine in known)
        return diagnose(replace(self.swarm.subject(), versions=versions))

    def look_at(self, spec: "SwarmSpec") -> AsyncIterator[SeenFromOutside]:
        """Is anybody in a swarm that we may join? Yields what is seen, again and again.

        Raises `CallError`.
        """
        return look(spec, lab=self.store.settings.lab)


def _state_at_start(settings: Settings) -> ContributorState:
    first, *others = settings.device.split(",")
    return ContributorState(
        device=first,
        other_devices=tuple(others),
        terms=settings.terms,
        reporting=reporting_at_start(settings),
    )


async def _load_hivemind() -> None:
    """Import hivemind and torch with the garbage collector switched off.

    They make hundreds of thousands of objects that stay. Each full collection would visit all of
    them and stall the loop for a fifth of a second.
    """
    gc.disable()
    try:
        await load_hivemind()
    finally:
        gc.enable()
    gc.freeze()


def _with(named: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What pydantic is to write: what was named, and the changed settings; of ``terms`` only the
    changed ones."""
    new = {name: set(value) if isinstance(value, dict) else True for name, value in changes.items()}
    both = named.keys() & new.keys()
    parts = {name: named[name] | new[name] for name in both if isinstance(new[name], set)}
    return named | new | parts
