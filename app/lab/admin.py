"""The admin's side: sends commands to machines, and believes what their keys sign."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app.common.i18n import _
from app.common.logs import AuditLog
from app.common.plain import one_line
from app.lab.messages import (
    MOST_ANSWER_BYTES,
    PROTOCOL,
    LabAnswer,
    LabCommand,
    LabFlaw,
    LabVerdict,
    digest_of,
    in_short,
    new_order,
    open_answer,
    seal_order,
)
from app.lab.numbers import CommandNumbers
from app.p2p.calls import CallError
from app.p2p.machine_records import LEFT
from app.p2p.streams import frames
from app.swarm.fleet import Machine

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

ANSWER_SECONDS = 8.0
"""The machine itself takes three at most."""

TRIES = 3
"""Of the same command: the machine doesn't carry it out twice."""

PAUSE_SECONDS = 1.0
"""Between two tries, and between two questions whether a command has ended."""

MOST_AT_ONCE = 64
"""Machines that are called. One that is to be asked again later leaves its place to the others."""


class Silence(StrEnum):
    """Why there is no answer that the machine signed."""

    UNREACHABLE = "unreachable"
    UNPAIRED = "unpaired"
    UNBELIEVED = "unbelieved"  # the answer is none, or somebody else's


@dataclass(frozen=True, kw_only=True)
class CommandOutcome:
    """What became of a command to one machine."""

    machine: Machine
    outcome: LabVerdict | Silence
    text: str = ""
    """More of it, by the machine or by us: on one line, plain."""

    @property
    def is_done(self) -> bool:
        """The machine says that it was carried out."""
        return self.outcome is LabVerdict.DONE


class LabAdmin:
    """Commands the machines of one swarm.

    key: the lab's. node: a `DHTNode` in the swarm. run_id: the swarm's; "" for a network without a
    run. audit: gets each command and its outcome.
    """

    def __init__(
        self,
        key: "MachineKey",
        *,
        numbers: CommandNumbers,
        node: Any,
        run_id: str,
        audit: AuditLog,
    ) -> None:
        self._key = key
        self._numbers = numbers
        self._p2p = node.p2p
        self._run_id = run_id
        self._audit = audit
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def command(
        self,
        machines: Sequence[Machine],
        command: LabCommand,
        *,
        wait: float = 0.0,
        told: Callable[[CommandOutcome], None] = lambda _outcome: None,
    ) -> list[CommandOutcome]:
        """Command machines, all at once; an outcome for each, in their order.

        wait: seconds for which machines that have begun are asked again whether they are done.
        told: called with each outcome as it comes.

        Raises `LabError` when the commands can't be numbered.
        """
        numbers = await asyncio.to_thread(self._numbers.take, len(machines))
        each = zip(machines, numbers, strict=True)

        async def one(machine: Machine, number: int) -> CommandOutcome:
            outcome = await self._command(machine, number, command, wait)
            told(outcome)
            return outcome

        return await asyncio.gather(*(one(*pair) for pair in each))

    async def _command(
        self, machine: Machine, number: int, command: LabCommand, wait: float
    ) -> CommandOutcome:
        async with self._places:
            order = new_order(self._run_id, machine.public_key, number, command)
            sealed = seal_order(order, self._key)
            outcome = await self._answered(machine, sealed)
        until = time.monotonic() + wait
        while outcome.outcome is LabVerdict.BEGUN and time.monotonic() < until:
            await asyncio.sleep(PAUSE_SECONDS)
            async with self._places:
                outcome = await self._answered(machine, sealed)
        self._audit.write(
            f"lab: {in_short(command)}",
            machine=machine.public_key,
            alias=machine.record.alias,
            number=number,
            run=self._run_id,
            outcome=outcome.outcome.value,
            text=outcome.text,
        )
        return outcome

    async def _answered(self, machine: Machine, sealed: bytes) -> CommandOutcome:
        """Ask with the same command until there is an answer, `TRIES` times at most."""
        said = CommandOutcome(machine=machine, outcome=Silence.UNREACHABLE)
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE_SECONDS)
            said = await self._ask(machine, sealed)
            if said.outcome is not Silence.UNREACHABLE:
                break
        return said

    async def _ask(self, machine: Machine, sealed: bytes) -> CommandOutcome:
        try:
            reply = await frames.ask(
                self._p2p,
                machine.record.peer_ids[0],
                protocol=PROTOCOL,
                message=sealed,
                most=MOST_ANSWER_BYTES,
                seconds=ANSWER_SECONDS,
            )
        except CallError as error:
            log.info("the machine %s doesn't answer: %s", machine.public_key, error.details)
            if "protocols not supported" in error.details:
                text = _("it isn't paired with a lab, or not in the swarm any more.")
                return CommandOutcome(machine=machine, outcome=Silence.UNPAIRED, text=text)
            text = one_line(error.reason)
            return CommandOutcome(machine=machine, outcome=Silence.UNREACHABLE, text=text)
        answer = open_answer(reply, machine.public_key, digest_of(sealed))
        if answer is None:
            return _turned_away(machine, reply)
        return _said(machine, answer)


def _said(machine: Machine, answer: LabAnswer) -> CommandOutcome:
    return CommandOutcome(machine=machine, outcome=answer.verdict, text=one_line(answer.text))


def _turned_away(machine: Machine, reply: bytes) -> CommandOutcome:
    """What the machine hasn't signed says little: whoever has its address may have sent it."""
    words = {
        LabFlaw.FORGED.value: (Silence.UNPAIRED, _("it is paired with another lab key.")),
        LabFlaw.BUSY.value: (Silence.UNREACHABLE, _("it is asked too often, or isn't ready.")),
        LabFlaw.MALFORMED.value: (
            Silence.UNBELIEVED,
            _("it doesn't understand this command: update its app."),
        ),
    }
    unsigned = (Silence.UNBELIEVED, _("its answer isn't signed with its key."))
    outcome, text = words.get(reply.decode(errors="replace"), unsigned)
    return CommandOutcome(machine=machine, outcome=outcome, text=text)


def reachable(machine: Machine) -> bool:
    """A machine that hasn't left, and says at which peer it is called."""
    return machine.record.state != LEFT and bool(machine.record.peer_ids)
