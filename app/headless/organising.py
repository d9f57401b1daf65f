"""The organiser's commands: sign an invite, and say who may take part in a closed swarm.

They change files of the data folder alone. The app that runs in the same folder, if one does, sees
the change and passes it on; else the next one to start there.
"""

import asyncio
import sys
from collections.abc import Mapping

from app.commands.organiser import OrganiserCommand
from app.common.errors import RosterError, UserFacingError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.signing import MachineKey
from app.headless.display import say
from app.organiser.files import OrganiserFiles
from app.organiser.invites import shortened
from app.organiser.members import Members, runs_of
from app.organiser.roster import Roster
from app.settings.settings import Settings
from app.spec import invite
from app.spec.schema import SwarmSpec, parse
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.organisation import Organisation


def run(command: OrganiserCommand, folders: Folders) -> int:
    """Do what the organiser asks for; returns the exit status."""
    try:
        return _sign(command, folders) if command.action == "sign" else _change(command, folders)
    except UserFacingError as error:
        say(error.text)
        return 1


def _sign(command: OrganiserCommand, folders: Folders) -> int:
    assert command.out is not None
    spec = _saying(invite.load(command.swarm), command.about)
    store = Store(settings=Settings.model_construct(), state=ContributorState())
    organisation = Organisation(store, folders=folders)
    signed = asyncio.run(organisation.organise(spec, name=command.name, closed=command.closed))
    invite.save(signed, command.out)
    assert signed.organiser is not None
    say(
        _("Signed as {name} with the key {key}: {file}").format(
            name=signed.organiser.name, key=signed.organiser.key, file=command.out
        )
    )
    return 0


def _saying(spec: SwarmSpec, said: Mapping[str, str]) -> SwarmSpec:
    """The spec with what the command says of the swarm's purpose; what it doesn't say stays."""
    if not said:
        return spec
    before = spec.about.as_json() if spec.about is not None else {}
    content = spec.to_json() | {"about": {**before, **said}, "organiser": None}  # to be signed anew
    return parse(content)


def _change(command: OrganiserCommand, folders: Folders) -> int:
    files = OrganiserFiles(folders.data)
    if not files.key.exists():
        raise RosterError(
            _("this machine has organised no swarm yet."),
            field=str(files.key),
            remedy=_("Start a closed swarm first, or give its --data-dir."),
        )
    key = MachineKey.load_or_create(files.key)
    run_id = _run_id(command.swarm, key, files)
    members = Members(key, run_id=run_id, file=files.roster(run_id))
    match command.action:
        case "add":
            _show(members.add(command.code, command.label))
        case "remove":
            _show(members.remove(command.code))
        case _:
            _show(members.roster)
    return 0


def _run_id(source: str, key: MachineKey, files: OrganiserFiles) -> str:
    ours = runs_of(key, files.rosters)
    if source in ours:
        return source
    if source:
        spec = invite.load(source)
        if spec.organiser is None or spec.organiser.key != key.public_key:
            raise RosterError(
                _("this swarm isn't signed with this machine's key ({key}).").format(
                    key=shortened(key.public_key)
                ),
                field="swarm",
                remedy=_("Its organiser alone can change the list of members."),
            )
        return spec.run_id
    if len(ours) != 1:
        raise RosterError(
            _("this machine organises several closed swarms, or none."),
            field="swarm",
            remedy=_("Give --swarm and one of: {names}.").format(names=", ".join(ours) or "–"),
        )
    return ours[0]


def _show(roster: Roster) -> None:
    for member in roster.members:
        sys.stdout.write(f"{member.peer_id}  {member.label}".rstrip() + "\n")
    sys.stdout.flush()
