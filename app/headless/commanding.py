"""``lab`` on the command line: one line for each machine on stdout, and an exit status.

Enters the swarm with a node of its own, which nobody can call, so that the app may run beside it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.lab import LabAsked
from app.common.errors import JoinError, LabError, UserFacingError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.plain import one_line
from app.common.signing import MachineKey
from app.headless.display import say
from app.lab.admin import CommandOutcome, reachable
from app.lab.asking import admin_in, key_file, move_to, own_key, pause_of
from app.lab.messages import (
    ChangeSettings,
    ExportModel,
    LabCommand,
    StartTraining,
    StopTraining,
)
from app.organiser.invites import shortened
from app.p2p import calls
from app.p2p.board import Board
from app.p2p.calls import CallError
from app.p2p.machine_records import Inspection, Inspector
from app.p2p.scout import Scout
from app.settings import loading
from app.settings.settings import Settings
from app.swarm.fleet import Fleet, Machine
from app.swarm.recents import Recents

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

DONE, FAILED, USAGE = 0, 1, 2
"""Exit statuses: 0 only if all machines did what they were told."""

REPLICAS = 5
"""How many holders of the machines' records are asked: one alone may lie, or be new."""

_LEAST_PREFIX = 6
"""Letters of a public key that name a machine."""

_KEY_BYTES = 4096


def run(asked: LabAsked, folders: Folders, settings: Settings) -> int:
    """Do what was asked for; returns the exit status."""
    try:
        match asked.action:
            case "key":
                return _show_key(asked, folders)
            case "pair":
                return _pair(asked, folders, settings, _key_in(asked.key))
            case "unpair":
                return _pair(asked, folders, settings, "")
        return asyncio.run(_Commanding(asked, folders, settings).run())
    except UserFacingError as error:
        if asked.as_json:
            _print(error={"message": error.message, "field": error.field, "remedy": error.remedy})
        say(error.text)
        return FAILED


# --- keys


def _show_key(asked: LabAsked, folders: Folders) -> int:
    key = own_key(folders).public_key
    if asked.as_json:
        _print(lab_key=key, file=str(key_file(folders)))
    else:
        sys.stdout.write(f"{key}\n")
    return DONE


def _key_in(given: str) -> str:
    """A public key, from the command line or a file."""
    try:
        file = Path(given).expanduser()
        if file.is_file():
            with file.open("rb") as stream:
                given = stream.read(_KEY_BYTES).decode()
    except (OSError, ValueError, RuntimeError) as error:  # no text, an unknown ~user
        raise LabError(_("can't be read: {reason}.").format(reason=error), field=given) from error
    key = given.strip()
    if not key:
        raise LabError(
            _("no lab key was given."),
            field="lab_key",
            remedy=_("The admin's app shows it: main.py lab key"),
        )
    return key


def _pair(asked: LabAsked, folders: Folders, settings: Settings, lab_key: str) -> int:
    loading.changed(settings, {"lab_key": lab_key})
    loading.save(folders.settings_file, {"lab_key": lab_key})
    machine = MachineKey.load_or_create(folders.machine_key_file).public_key
    if asked.as_json:
        _print(lab_key=lab_key, machine=machine)
    elif lab_key:
        text = _("From the app's next start, the lab {lab} may command this machine, {machine}.")
        say(text.format(lab=shortened(lab_key), machine=machine))
    else:
        say(_("From the app's next start, no lab may command this machine."))
    return DONE


# --- commands


class _Commanding:
    """One call of the command."""

    def __init__(self, asked: LabAsked, folders: Folders, settings: Settings) -> None:
        self._asked = asked
        self._folders = folders
        self._settings = settings
        self._recents = Recents(folders.recents_file)

    async def run(self) -> int:
        """Returns the exit status."""
        asked = self._asked
        if asked.action != "list" and bool(asked.machines) is asked.everyone:
            say(_("Name machines by alias or public key, or give --all."))
            return USAGE
        calls.quiet_lost_connections(asyncio.get_running_loop())
        command = None if asked.action == "list" else await self._command()
        spec = await self._recents.read_invite(asked.swarm)
        entries = (*spec.initial_peers, *self._settings.initial_peers)
        entries = (*entries, *await self._recents.seen(spec.run_id))
        try:
            async with Scout(spec.run_id, entries) as scout:
                return await self._in_swarm(scout.node, spec, command)
        except CallError as error:
            raise JoinError(
                _("the swarm can't be entered: {reason}.").format(reason=error.reason),
                field="initial_peers",
                remedy=_("Check your network, or ask for a new invite: the peers may be off."),
            ) from error

    async def _command(self) -> LabCommand:
        asked = self._asked
        match asked.action:
            case "start":
                return StartTraining()
            case "stop":
                return StopTraining()
            case "pause":
                return pause_of(asked.minutes)
            case "set":
                return ChangeSettings(values=asked.values)
            case "move":
                return move_to(await self._recents.read_invite(asked.destination))
        return ExportModel()

    async def _in_swarm(self, node: Any, spec: "SwarmSpec", command: LabCommand | None) -> int:
        asked, machines = self._asked, await machines_of(node, spec.run_id)
        if command is None:
            for machine in machines:
                self._show(machine)
            return DONE
        chosen = machines if asked.everyone else _named(machines, asked.machines)
        if not chosen:
            raise LabError(_("no machine shows itself in this swarm."), field="swarm")
        async with admin_in(self._folders, node=node, run_id=spec.run_id) as admin:
            outcomes = await admin.command(chosen, command, wait=asked.wait, told=self._tell)
        return DONE if all(each.is_done for each in outcomes) else FAILED

    def _show(self, machine: Machine) -> None:
        told = machine.record
        if self._asked.as_json:
            _print(
                machine=machine.public_key,
                alias=told.alias,
                lab=told.lab,
                state=told.state,
                device=told.device,
                epoch=told.epoch,
            )
            return
        _line(machine.public_key, told.alias, told.lab or "–", told.state, told.device)

    def _tell(self, outcome: CommandOutcome) -> None:
        machine = outcome.machine
        if self._asked.as_json:
            _print(
                machine=machine.public_key,
                alias=machine.record.alias,
                outcome=outcome.outcome.value,
                text=outcome.text,
            )
            return
        key = shortened(machine.public_key)
        _line(machine.record.alias, key, outcome.outcome.value, outcome.text)


async def machines_of(node: Any, run_id: str) -> list[Machine]:
    """The machines of a swarm that can be called, by alias. Raises `CallError`."""
    fleet = Fleet()

    async def take(found: Inspection) -> None:
        fleet.take(found.records, time.time(), peers=())

    await Board(node, run_id).read(Inspector(run_id), take, replicas=REPLICAS)
    found = filter(reachable, fleet.machines(time.time()))
    return sorted(found, key=lambda each: (each.record.alias, each.public_key))


def _named(machines: Sequence[Machine], names: Sequence[str]) -> list[Machine]:
    """The machines with these names, each once. Anybody can call a machine anything."""
    chosen: dict[str, Machine] = {}
    for name in names:
        found = [each for each in machines if _is_named(each, name)]
        if len(found) != 1:
            text = _("no machine of this swarm has this name.")
            if found:
                text = _("several machines of this swarm have this name.")
            raise LabError(
                text,
                field=name,
                remedy=_("Take the public key that lab list --swarm INVITE shows."),
            )
        chosen[found[0].public_key] = found[0]
    return list(chosen.values())


def _is_named(machine: Machine, name: str) -> bool:
    is_key = len(name) >= _LEAST_PREFIX and machine.public_key.startswith(name)
    return is_key or machine.record.alias == name


def _line(*parts: str) -> None:
    sys.stdout.write("  ".join(map(one_line, filter(None, parts))) + "\n")
    sys.stdout.flush()


def _print(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()
