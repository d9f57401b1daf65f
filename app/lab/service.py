"""Lets the lab's admin call this machine, while it is in a swarm and paired."""

import asyncio
import logging
from typing import Any

from app.common.background import Background, survived
from app.common.errors import UserFacingError
from app.common.logs import AuditLog
from app.lab.carrying_out import SessionHands
from app.lab.desk import CommandDesk
from app.lab.memory import FILE_NAME, CommandMemory
from app.lab.messages import MOST_ORDER_BYTES, PROTOCOL, SIGNATURE_BYTES, LabFlaw
from app.p2p.calls import CallError
from app.p2p.streams.serving import MessageServer
from app.session import Session

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks whether we are in a swarm and paired."""

AUDIT_NAME = "lab-audit.log"
"""In the folder of logs."""


class LabService:
    """Of one session, from `open` to `close`. A machine that isn't paired can't be called."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._hands = SessionHands(session)
        self._desk: CommandDesk | None = None
        self._audit: AuditLog | None = None
        self._server: MessageServer | None = None
        self._served: Any = None
        self._complaint = ""
        self._background = Background()

    def open(self) -> None:
        """Begin to look. Before or after the session is opened."""
        self._looking = self._background.start(self._look_always())

    async def close(self) -> None:
        """Take no more commands, and end those that are carried out. May be called twice."""
        await self._background.close()
        await self._cease()
        if self._desk is not None:
            await self._desk.close()
        await self._hands.close()
        if self._audit is not None:
            self._audit.close()

    async def _look_always(self) -> None:
        while True:
            with survived(log, "looking whether the lab may command failed"):
                try:
                    await self._look()
                    self._complaint = ""
                except (CallError, OSError, UserFacingError) as error:
                    self._complain(str(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _complain(self, complaint: str) -> None:
        """Once, not at each look."""
        if complaint != self._complaint:
            log.warning("the lab can't command this machine: %s", complaint)
        self._complaint = complaint

    async def _look(self) -> None:
        node, lab = self._session.swarm.node, self._session.store.settings.lab_key
        if self._served is not None and (node is not self._served or not lab):
            await self._cease()
        if lab and self._desk is None:
            self._desk = await asyncio.to_thread(self._made_desk)
        if self._desk is not None:
            await self._desk.begin(lab)
            if lab and node is not None and self._served is None:
                await self._serve(node, self._desk)

    def _made_desk(self) -> CommandDesk:
        from app.common.signing import MachineKey

        folders = self._session.folders
        self._audit = AuditLog(folders.logs, name=AUDIT_NAME)
        return CommandDesk(
            self._session.store,
            key=MachineKey.load_or_create(folders.machine_key_file),
            memory=CommandMemory(folders.data / FILE_NAME),
            hands=self._hands,
            audit=self._audit,
        )

    async def _serve(self, node: Any, desk: CommandDesk) -> None:
        self._server = MessageServer(
            PROTOCOL,
            desk.answer,
            answered=self._go_on_after,
            busy=LabFlaw.BUSY.value.encode(),
            most_bytes=MOST_ORDER_BYTES,
        )
        await self._server.open(node)
        self._served = node

    def _go_on_after(self, answer: bytes) -> None:
        """Only the lab gets a signed answer: a stranger's call mustn't hurry what waits for it."""
        if len(answer) > SIGNATURE_BYTES:
            self._hands.go_on()

    async def _cease(self) -> None:
        server, self._server, self._served = self._server, None, None
        if server is not None:
            await server.close()
