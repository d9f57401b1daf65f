"""Paired machines that only watch: real sessions with real peers, in this very process."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from app.common.paths import Folders
from app.common.signing import MachineKey
from app.lab.admin import LabAdmin
from app.lab.asking import admin_in, own_key
from app.lab.service import AUDIT_NAME as MACHINE_AUDIT
from app.lab.service import LabService
from app.p2p.peer import load_hivemind
from app.p2p.scout import Scout
from app.session import Session
from app.settings.settings import Settings
from app.spec import schema as spec
from tests.support.processes.apps import tiny_spec


class Observer:
    """A machine of the lab. lab_key: "" for one that isn't paired."""

    def __init__(self, folder: Path, alias: str, lab_key: str) -> None:
        self.folders = Folders.under(folder / alias)
        self.folders.create()
        self.alias = alias
        self.session = Session(
            settings=Settings.model_construct(
                device="cpu", alias=alias, lab_key=lab_key, dht_port=0, go_back=False
            ),
            folders=self.folders,
        )
        self.service = LabService(self.session)

    async def open(self, entries: tuple[str, ...]) -> tuple[str, ...]:
        """Enter the swarm; returns its addresses."""
        await load_hivemind()
        self.session.machines.open()
        self.service.open()
        await self.session.swarm.join(spec.parse(tiny_spec(initial_peers=list(entries))))
        return self.session.store.state.addresses

    async def close(self) -> None:
        """Leave it."""
        await self.service.close()
        await self.session.close()

    def audited(self) -> list[dict[str, Any]]:
        """The lines of the audit log."""
        file = self.folders.logs / MACHINE_AUDIT
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]


async def all_open(
    observers: Iterable[Observer], stack: contextlib.AsyncExitStack
) -> tuple[str, ...]:
    """Let them enter a new swarm, which they leave with the stack; returns where to enter it."""
    entries: tuple[str, ...] = ()
    for each in observers:
        stack.push_async_callback(each.close)
        entered = await each.open(entries)
        entries = entries or entered
    return entries


def lab_key(folder: Path) -> MachineKey:
    """The admin's, made at the first time."""
    folders = Folders.under(folder)
    folders.create()
    return own_key(folders)


@contextlib.asynccontextmanager
async def admin_of(
    folder: Path, entries: tuple[str, ...], run_id: str = "tiny"
) -> AsyncIterator[tuple[LabAdmin, Any]]:
    """The admin in the swarm, and his node."""
    async with (
        Scout(run_id, entries) as scout,
        admin_in(Folders.under(folder), node=scout.node, run_id=run_id) as admin,
    ):
        yield admin, scout.node
