"""Tasks: what callers have this machine train, one at a time, with the volunteer's consent.

Tasks live as long as the process. After a restart a caller is told that a task is unknown, and may
post it again; it then resumes from its last checkpoint.
"""

import asyncio
import ipaddress
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.common.background import end
from app.common.errors import BusyError, ConsentError, UserFacingError
from app.common.i18n import _
from app.common.subscription import Subscription, subscribed
from app.settings.settings import Settings
from app.state.state import ContributorState, Phase
from app.state.store import ReadableStore
from app.tasks.order import Interpretation, Order, interpret
from app.tasks.task import Task, TaskStatus, sending_log_to

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

MOST_KEPT = 200
"""How many tasks are kept; the oldest ones that have ended are dropped first."""


class TaskSwarm(Protocol):
    """Entering and leaving the swarm of a task (`app.swarm.membership`)."""

    async def join(self, spec: "SwarmSpec", *, returns: bool) -> bool:
        """Enter a swarm, leaving the one that we are in. returns: as in `Membership.join`."""

    async def leave(self) -> None:
        """Stop training and leave the swarm."""


class TaskTraining(Protocol):
    """Training for a task (`app.training.training`)."""

    async def start(self) -> None:
        """Start a trainer in the swarm that we are in."""


class SlotFiles(Protocol):
    """The files and folders that fill slots (`app.swarm.bindings`)."""

    def of(self, run_id: str) -> Mapping[str, Path]:
        """What fills the slots of a run, by label."""


class Contributor(Protocol):
    """The session, as far as tasks need it."""

    @property
    def store(self) -> ReadableStore:
        """Settings and state."""

    @property
    def swarm(self) -> TaskSwarm:
        """Where a task trains."""

    @property
    def training(self) -> TaskTraining:
        """What trains it."""

    @property
    def bindings(self) -> SlotFiles:
        """What the volunteer has chosen for the slots of swarms."""


class Volunteer(Protocol):
    """Somebody who can be asked for consent."""

    async def agrees(self, task: Task) -> bool:
        """Ask whether this machine may train a task; the answer may change the settings as well.

        Cancelled when the task is withdrawn.
        """


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What the volunteer has decided beforehand, in the settings."""

    mode: str
    """``ask``, ``always`` (for callers among ``backends``; others are asked about) or ``never``."""
    backends: tuple[str, ...]
    """IP addresses and networks."""

    @classmethod
    def of(cls, settings: Settings) -> "Consent":
        """From the settings ``consent`` and ``consent_backends``."""
        return cls(mode=settings.consent, backends=settings.consent_backends)

    @property
    def settings(self) -> dict[str, object]:
        """The changes that put this consent into the settings."""
        return {"consent": self.mode, "consent_backends": self.backends}

    def covers(self, caller: str) -> bool:
        """Whether a caller's IP address is among the backends."""
        address = ipaddress.ip_address(caller)
        return any(address in ipaddress.ip_network(each) for each in self.backends)

    def trusting(self, caller: str) -> "Consent":
        """The same, with ``always`` for this caller too, and for nobody else who had not got it."""
        earlier = self.backends if self.mode == "always" else ()
        known = bool(earlier) and self.covers(caller)
        return Consent(mode="always", backends=earlier if known else (*earlier, caller))


class Tasks:
    """All tasks of this process. volunteer: asked for consent; None where nobody can be."""

    def __init__(self, session: Contributor, *, volunteer: Volunteer | None = None) -> None:
        self._store = session.store
        self._swarm = session.swarm
        self._training = session.training
        self._bindings = session.bindings
        self._volunteer = volunteer
        self._tasks: dict[str, Task] = {}
        self._active: Task | None = None
        self._working: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Task], None]] = []

    @property
    def active(self) -> Task | None:
        """The task that waits for the volunteer's consent, or trains."""
        return self._active

    def find(self, task_id: str) -> Task | None:
        """The task with an id that `submit` gave it; None when there is none."""
        return self._tasks.get(task_id)

    def subscribe(self, listener: Callable[[Task], None]) -> Subscription:
        """Call ``listener`` with each task that has changed."""
        return subscribed(self._listeners, listener)

    def submit(self, order: Order) -> Task:
        """Accept a task and start working on it; the returned task tells how it goes.

        Raises `SpecError` for an invalid order, `ConsentError` where consent can't be given, and
        `BusyError` while this machine does something else.
        """
        meaning = interpret(order, files_of=self._bindings.of)
        must_ask = self._must_ask(order, meaning)
        self._refuse_if_busy()
        task = Task(id=str(uuid.uuid4()), order=order, meaning=meaning, changed=self._tell)
        self._remember(task)
        self._active = task
        self._working = asyncio.create_task(self._carry_out(task, must_ask=must_ask))
        return task

    def _must_ask(self, order: Order, meaning: Interpretation) -> bool:
        consent = Consent.of(self._store.settings)
        if consent.mode == "never":
            raise ConsentError(
                _("this machine takes no tasks from outside."),
                field="consent",
                remedy=_("Its volunteer can change that in the settings."),
            )
        # only callers on this machine may have its files read without a question
        may_read = order.from_this_machine or not meaning.files
        if consent.mode == "always" and may_read and consent.covers(order.caller):
            return False
        if self._volunteer is None:
            raise ConsentError(
                _("nobody can be asked here, and this task needs the volunteer's word."),
                field="consent",
                remedy=_("Set consent to always, and consent_backends to who may send tasks."),
            )
        return True

    def _refuse_if_busy(self, but_for: Task | None = None) -> None:
        if self._active is not None and self._active is not but_for:
            raise BusyError(
                _("another task ({task}) is {status}.").format(
                    task=self._active.id, status=self._active.status.value
                ),
                remedy=_("Wait for its end, or stop it first."),
            )
        state = self._store.state
        if state.trains_or_will:
            raise BusyError(_("the volunteer trains something else just now."))
        if state.phase is Phase.JOINING:
            raise BusyError(_("this machine is joining a swarm just now."))

    def _remember(self, task: Task) -> None:
        self._tasks[task.id] = task
        finished = [each.id for each in self._tasks.values() if each.status.is_final]
        for each in finished[: max(0, len(self._tasks) - MOST_KEPT)]:
            del self._tasks[each]

    def _tell(self, task: Task) -> None:
        for listener in tuple(self._listeners):
            listener(task)

    # --- from the question to the end

    async def _carry_out(self, task: Task, *, must_ask: bool) -> None:
        try:
            if must_ask and not await self._agreed(task):
                task.fail(_("The volunteer has refused it."))
            else:
                await self._train(task)
        except UserFacingError as error:
            task.fail(error.text)
        except asyncio.CancelledError:
            task.fail(_("It was stopped."))
            raise
        except Exception:  # the boundary of the task that carries it out: whoever asked is told
            log.exception("a task failed")
            task.fail(_("Something went wrong in the app; its log says more."))
        finally:
            self._active = None

    async def _agreed(self, task: Task) -> bool:
        assert self._volunteer is not None
        task.note(_("waiting for the volunteer's word"))
        agreed = await self._volunteer.agrees(task)
        if agreed:
            task.note(_("the volunteer has agreed"))
            self._refuse_if_busy(but_for=task)  # something may have begun meanwhile
        return agreed

    async def _train(self, task: Task) -> None:
        task.begin()
        following = self._store.subscribe(task.follow)
        try:
            with sending_log_to(task):
                await self._join_and_train(task)
        finally:
            following.close()

    async def _join_and_train(self, task: Task) -> None:
        if not await self._swarm.join(self._with_peers(task.spec), returns=False):
            raise BusyError(_("the swarm was left before it was entered."))
        await self._training.start()
        error = await self._end(task)
        task.complete() if not error else task.fail(error)

    def _with_peers(self, spec: "SwarmSpec") -> "SwarmSpec":
        """The spec; one without peers gets those that we are connected to."""
        if spec.initial_peers or spec.local:
            return spec
        peers = tuple(
            f"{peer.address}/p2p/{peer.peer_id}" if "/p2p/" not in peer.address else peer.address
            for peer in self._store.state.peers
            if peer.address
        )
        return spec.model_copy(update={"initial_peers": peers})

    async def _end(self, task: Task) -> str:
        """Wait until training has ended for good; returns why the task failed, or ""."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def look(state: ContributorState) -> None:
            if not ended.done() and (end := _end_of(task, state)) is not None:
                ended.set_result(end)

        looking = self._store.subscribe(look)
        try:
            look(self._store.state)
            return await ended
        finally:
            looking.close()

    # --- stopping it

    async def stop(self) -> Task | None:
        """Withdraw the task that waits, or end the one that trains; returns it.

        It has failed then, unless it is endless. Nothing happens when there is none.
        """
        task, working = self._active, self._working
        if task is None or working is None:
            return None
        if task.status is TaskStatus.RUNNING:
            await self._swarm.leave()
            await asyncio.wait({working}, timeout=1.0)
        await self.close()
        return task

    async def close(self) -> None:
        """Stop asking and following; the session ends the training. May be called twice."""
        if self._working is None:
            return
        await end(self._working)
        if self._active is not None:  # cancelled before it had begun
            self._active.fail(_("It was stopped."))
            self._active = None


def _end_of(task: Task, state: ContributorState) -> str | None:
    """None while a task goes on, "" when it has succeeded, else why it has failed."""
    if state.swarm is None or state.swarm.run_id != task.spec.run_id:
        return "" if task.endless else _("The swarm was left before the task's end.")
    if state.trains_or_will:
        return None
    if state.phase is Phase.FAILED:
        problem = state.problem
        return f"{problem.message} {problem.remedy}".rstrip() if problem else _("Training failed.")
    if state.completed or task.endless:
        return ""
    return _("Training was stopped before the task's end.")
