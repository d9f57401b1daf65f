"""The machine's side: judges each command, has it carried out once, and signs the answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from app.common.background import end, in_thread
from app.common.errors import LabError, UserFacingError
from app.common.i18n import _
from app.common.logs import AuditLog
from app.common.rate_limit import RateLimit
from app.lab.memory import CommandMemory
from app.lab.messages import (
    CLOCKS_MS,
    LabCommand,
    LabFlaw,
    LabOrder,
    LabVerdict,
    digest_of,
    in_short,
    new_answer,
    open_order,
    seal_answer,
)
from app.organiser.invites import shortened
from app.state.events import LabCommanded
from app.state.facts import LabDeed
from app.state.store import Store

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0
"""A command that takes longer is answered with `LabVerdict.BEGUN`; its admin asks again."""

NOTED_A_SECOND, MOST_NOTED_AT_ONCE = 0.2, 20
"""Lines of the audit log about commands that nobody has signed."""

SHOWN_A_SECOND, MOST_SHOWN_AT_ONCE = 1 / 600, 3
"""Commands that the window tells of though they weren't listened to: whoever is in the swarm could
send thousands, or repeat an old one as often."""


class Hands(Protocol):
    """What carries a command out."""

    async def carry_out(self, command: LabCommand) -> str:
        """Returns what was done, in words; "" where there is nothing to add.

        Raises `LabError` where nothing was changed, and other `UserFacingError` for a failure.
        """


@dataclass(frozen=True)
class Ruling:
    """What is answered."""

    verdict: LabVerdict
    text: str = ""


class CommandDesk:
    """Of a machine that is paired, until `close`.

    key: the machine's, which signs answers. memory: of earlier commands. hands: carry commands out.
    clock: in seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        *,
        key: "MachineKey",
        memory: CommandMemory,
        hands: Hands,
        audit: AuditLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key = key
        self._memory = memory
        self._hands = hands
        self._audit = audit
        self._clock = clock
        # the memory is changed by one thread at a time, or one would undo what another has noted
        self._remembering = asyncio.Lock()
        self._under_way: dict[tuple[str, int], asyncio.Task[bytes]] = {}
        self._lab = ""
        self._limit = RateLimit(rate=NOTED_A_SECOND, burst=MOST_NOTED_AT_ONCE)
        self._unwritten = 0
        self._shown = RateLimit(rate=SHOWN_A_SECOND, burst=MOST_SHOWN_AT_ONCE)

    async def begin(self, lab: str) -> None:
        """Listen to this lab key from now on; "" for none. Raises `OSError`."""
        async with self._remembering:
            if lab and lab != self._lab:
                await in_thread(partial(self._memory.begin, lab))
            self._lab = lab

    async def answer(self, peer_id: str, sealed: bytes) -> bytes:
        """The answer to what a peer sent, whatever that is. peer_id: of the peer, for the log."""
        lab = self._store.settings.lab_key
        if not lab or lab != self._lab:
            return LabFlaw.BUSY.value.encode()  # it was paired a moment ago
        order = open_order(sealed, lab)
        if isinstance(order, LabFlaw):
            self._note_flaw(order, peer_id)
            self._show_seldom(_("A command"), lab, _refused(_reason_of(order)))
            return order.value.encode()
        async with self._remembering:
            outcome = await self._accepted(lab, order, digest_of(sealed), peer_id)
        if isinstance(outcome, bytes):
            return outcome
        done, _pending = await asyncio.wait({outcome}, timeout=ANSWER_SECONDS)
        if done:
            return outcome.result()
        return self._sealed(digest_of(sealed), Ruling(LabVerdict.BEGUN))

    async def close(self) -> None:
        """End what is being carried out. May be called twice."""
        await end(*self._under_way.values())

    # --- judging

    async def _accepted(
        self, lab: str, order: LabOrder, digest: str, peer_id: str
    ) -> "bytes | asyncio.Task[bytes]":
        """The answer, or the task that will have it."""
        kept = self._memory.find(lab, order.number)
        if kept is not None and kept.order == digest:
            self._note(order, "asked again", peer_id)
            return self._known(lab, order, digest, kept.sealed)
        ruling, counts = self._judge(lab, order)
        if ruling is not None and not counts:
            self._note(order, ruling.verdict, peer_id, ruling.text)
            self._show_seldom(in_short(order.command), lab, ruling, order.number)
            return self._sealed(digest, ruling)
        try:
            await in_thread(partial(self._memory.accept, lab, order.number, digest))
        except OSError as error:
            text = _("the command can't be noted on this machine: {reason}.")
            ruling = Ruling(LabVerdict.FAILED, text.format(reason=error.strerror or error))
            self._note(order, ruling.verdict, peer_id, ruling.text)
            return self._sealed(digest, ruling)
        if ruling is None:
            self._note(order, "accepted", peer_id)
        return self._start(lab, order, self._end(lab, order, digest, ruling, peer_id))

    def _start(
        self, lab: str, order: LabOrder, ending: Coroutine[Any, Any, bytes]
    ) -> "asyncio.Task[bytes]":
        place = (lab, order.number)
        self._under_way[place] = task = asyncio.create_task(ending)
        task.add_done_callback(lambda _task: self._under_way.pop(place, None))
        return task

    def _known(
        self, lab: str, order: LabOrder, digest: str, answer: bytes
    ) -> "bytes | asyncio.Task[bytes]":
        if answer:
            return answer
        task = self._under_way.get((lab, order.number))
        if task is not None:
            return task
        text = _("the app ended before this was done, or before that was noted.")
        return self._sealed(digest, Ruling(LabVerdict.FAILED, text))

    def _judge(self, lab: str, order: LabOrder) -> tuple[Ruling | None, bool]:
        """Why an authentic order is refused, and whether its number counts nevertheless, so that it
        can't be carried out later."""
        now, known = int(self._clock() * 1000), self._memory.of(lab)
        if order.machine != self._key.public_key:
            return _refused(_("it is for another machine.")), False
        if order.number <= known.highest:
            return _refused(_("a later command was here before.")), False
        if now > order.expires + CLOCKS_MS:
            return _refused(_("it came too late, or the clocks are apart.")), False
        if order.issued < known.since:
            return _refused(_("it was given before this machine was paired; repeat it.")), False
        if order.issued > now + CLOCKS_MS:
            return _refused(_("the clocks of admin and machine are apart.")), True
        swarm = self._store.state.swarm
        if order.run != (swarm.run_id if swarm is not None else ""):
            return _refused(_("this machine is in another swarm.")), True
        if not self._store.settings.lab_commands:
            return _refused(_("this machine's user refuses the lab's commands.")), True
        return None, True

    # --- carrying out

    async def _end(
        self, lab: str, order: LabOrder, digest: str, ruling: Ruling | None, peer_id: str
    ) -> bytes:
        """Carry an order out, unless it is refused; keep the answer, and tell of it."""
        ruling = ruling or await self._carried_out(order)
        answer = self._sealed(digest, ruling)
        try:
            async with self._remembering:
                await in_thread(partial(self._memory.finish, lab, order.number, answer))
        except OSError as error:
            log.warning("the answer to a command of the lab can't be kept: %s", error)
        self._note(order, ruling.verdict, peer_id, ruling.text)
        self._show(in_short(order.command), lab, ruling, order.number)
        return answer

    async def _carried_out(self, order: LabOrder) -> Ruling:
        carrying = asyncio.create_task(self._hands.carry_out(order.command))
        try:
            await asyncio.wait({carrying})
        finally:
            await end(carrying)
        match carrying.exception():
            case None:
                return Ruling(LabVerdict.DONE, carrying.result())
            case LabError() as error:
                return _refused(_without_path(error))
            case UserFacingError() as error:
                return Ruling(LabVerdict.FAILED, _without_path(error))
            case OSError() as error:  # a full disk
                return Ruling(LabVerdict.FAILED, error.strerror or str(error))
            case error:  # a defect: the admin has to know as well
                log.error("a command of the lab failed", exc_info=error)
                return Ruling(LabVerdict.FAILED, _("a defect; the machine's log says more."))

    def _sealed(self, digest: str, ruling: Ruling) -> bytes:
        return seal_answer(new_answer(digest, ruling.verdict, ruling.text), self._key)

    # --- the window

    def _show(self, command: str, lab: str, ruling: Ruling, number: int) -> None:
        deed = LabDeed(
            command=command,
            lab=shortened(lab),
            verdict=ruling.verdict.value,
            text=ruling.text,
            number=number,
        )
        self._store.dispatch(LabCommanded(deed=deed))

    def _show_seldom(self, command: str, lab: str, ruling: Ruling, number: int = 0) -> None:
        """What had no effect, as far as it can't bury the rest. number: 0 where nobody knows it."""
        if self._shown.take("anybody") == 0:
            self._show(command, lab, ruling, number)

    # --- the audit log

    def _note(self, order: LabOrder, outcome: str, peer_id: str, text: str = "") -> None:
        self._audit.write(
            f"lab: {in_short(order.command)}",
            lab_key=self._store.settings.lab_key,
            number=order.number,
            run=order.run,
            machine=order.machine,
            peer=peer_id,
            outcome=str(outcome),
            text=text,
            unwritten_before=self._unwritten,
        )
        self._unwritten = 0

    def _note_flaw(self, flaw: LabFlaw, peer_id: str) -> None:
        """Only a few a minute: anybody could push the other lines out of the file."""
        if self._limit.take("anybody") > 0:
            self._unwritten += 1
            return
        log.warning("a command for this machine that the lab's key hasn't signed, or a wrong one")
        self._audit.write(
            "lab: a command that isn't listened to",
            peer=peer_id,
            outcome=flaw.name.lower(),
            unwritten_before=self._unwritten,
        )
        self._unwritten = 0


def _reason_of(flaw: LabFlaw) -> str:
    """Why a command isn't listened to, for the machine's user."""
    if flaw is LabFlaw.FORGED:
        return _("this lab's key hasn't signed it.")
    return _("this version of the app doesn't understand it.")


def _refused(text: str) -> Ruling:
    return Ruling(LabVerdict.REFUSED, text)


def _without_path(error: UserFacingError) -> str:
    """In words, without the file that is wrong: its path tells the user's name."""
    return f"{error.message} {error.remedy}".rstrip() if "/" in error.field else error.text
