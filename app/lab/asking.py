"""From what an admin says to a command, and to who sends it, for command line and window."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.errors import LabError
from app.common.i18n import _
from app.common.logs import AuditLog
from app.common.paths import Folders
from app.lab.admin import LabAdmin
from app.lab.messages import MOST_PAUSE_SECONDS, ChangeSettings, MoveToSwarm, PauseTraining
from app.lab.numbers import FILE_NAME, CommandNumbers

if TYPE_CHECKING:
    from app.common.signing import MachineKey
    from app.spec.schema import SwarmSpec

AUDIT_NAME = "lab-admin-audit.log"
"""In the folder of logs."""


def key_file(folders: Folders) -> Path:
    """The private key of the lab, on the admin's machine."""
    return folders.data / "identities" / "lab.pem"


def own_key(folders: Folders) -> "MachineKey":
    """The lab's key; made at the first time. Raises `MachineKeyError`."""
    from app.common.signing import MachineKey

    return MachineKey.load_or_create(key_file(folders))


@asynccontextmanager
async def admin_in(folders: Folders, *, node: Any, run_id: str) -> AsyncIterator[LabAdmin]:
    """The admin with the key in a data folder, in a swarm; the parameters are as of `LabAdmin`.

    Raises `LabError` where there is no key yet: no machine can be paired with it.
    """
    if not key_file(folders).exists():
        raise LabError(
            _("there is no lab key on this machine."),
            field=str(key_file(folders)),
            remedy=_("Make one with main.py lab key, and pair your machines with it."),
        )
    key = await asyncio.to_thread(own_key, folders)
    audit = AuditLog(folders.logs, name=AUDIT_NAME)
    try:
        numbers = CommandNumbers(folders.data / FILE_NAME)
        yield LabAdmin(key, numbers=numbers, node=node, run_id=run_id, audit=audit)
    finally:
        audit.close()


def pause_of(minutes: str) -> PauseTraining:
    """Raises `LabError` for a length that makes no sense."""
    try:
        seconds = float(minutes) * 60
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MOST_PAUSE_SECONDS:  # NaN isn't either
        most = MOST_PAUSE_SECONDS // 60
        raise LabError(_("must be minutes, {most} at most.").format(most=most), field="pause")
    return PauseTraining(seconds=round(seconds))


def change_of(text: str) -> ChangeSettings:
    """From ``NAME=VALUE``. Raises `LabError` for another text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise LabError(_("{text} must be NAME=VALUE.").format(text=repr(text[:80])), field="set")
    return ChangeSettings(values={name.strip(): value.strip()})


def move_to(spec: "SwarmSpec") -> MoveToSwarm:
    """Raises `LabError` for a spec that is too large for a link."""
    from app.spec import invite

    link = invite.as_link(spec)
    if len(link) > invite.MAX_LINK:
        raise LabError(_("this invite is too large to be sent."), field="move")
    return MoveToSwarm(invite=link)
