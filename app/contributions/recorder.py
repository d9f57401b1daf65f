"""Records what this machine contributes: from the trainer's counters to the ledger.

Time in a swarm is cut into intervals. An interval ends when the time of the setting
``report_interval`` is over, when a trainer ends, and when the app leaves the swarm. It then becomes
a contribution. In the first case it ends with the last round in it, and goes on while no sample has
entered a round. An interval that hasn't ended is saved every few seconds, so a crash loses only
these seconds.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.common.background import survived
from app.common.database import unusable
from app.common.errors import DatabaseError
from app.common.i18n import _, ngettext
from app.common.paths import Folders
from app.contributions.accounting import (
    LEAST_REPORTED,
    Contribution,
    Interval,
    contribution_of,
)
from app.contributions.fates import unreported
from app.contributions.ledger import Ledger, LedgerThread
from app.contributions.recovery import Recovery
from app.contributions.summary import Summary, summary_of
from app.machine.energy import EnergyMeter
from app.machine.question import Question
from app.protocol import Device, Ready, Work
from app.state.events import Event, Joined, Left, ProblemRaised, TrainerGone
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.store import Store

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
"""Seconds between two saves of the current interval."""


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """The current interval as it was when the last round in it ended."""

    interval: Interval

    at: float
    """By the monotonic clock, in seconds."""

    energy: float | None
    """Joules used until then; None while not known."""


@dataclass(frozen=True, kw_only=True)
class _Running:
    """The current interval, with what identifies its contribution."""

    swarm: Swarm

    participant: str
    """Peer id of the app's peer."""

    interval: Interval

    started_at: float
    """Seconds since the epoch."""

    since: float
    """The same moment by the monotonic clock."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Id of the contribution that the interval becomes."""

    energy: float | None = None
    """Joules used so far; None while not known."""

    mark: _Mark | None = None
    """None while no round has ended in the interval."""

    @classmethod
    def begun(cls, swarm: Swarm, *, participant: str, interval: Interval) -> "_Running":
        """An interval that begins now."""
        return cls(
            swarm=swarm,
            participant=participant,
            interval=interval,
            started_at=time.time(),
            since=time.monotonic(),
        )

    def changed(self, interval: Interval) -> "_Running":
        """The same with other counters; marks the end of a round."""
        if interval.so_far.samples_computed == self.interval.so_far.samples_computed:
            return replace(self, interval=interval)
        mark = _Mark(interval=interval, at=time.monotonic(), energy=self.energy)
        return replace(self, interval=interval, mark=mark)

    def next(self) -> "_Running":
        """The interval that follows this one."""
        return _Running.begun(
            self.swarm,
            participant=self.participant,
            interval=self.interval.after(self.interval),
        )

    def after(self, mark: _Mark) -> "_Running":
        """The interval that follows this one if this one has ended at a mark."""
        used = None if self.energy is None else self.energy - (mark.energy or 0.0)
        return _Running(
            swarm=self.swarm,
            participant=self.participant,
            interval=self.interval.after(mark.interval),
            started_at=self.started_at + mark.at - self.since,
            since=mark.at,
            energy=used,
        )

    def using(self, energy: float | None) -> "_Running":
        """The same with ``energy`` more joules; None if they aren't known."""
        return self if energy is None else replace(self, energy=(self.energy or 0.0) + energy)

    def contribution(self, work: Work, *, mark: _Mark | None = None) -> Contribution:
        """What the interval becomes if it ends at a mark, or now."""
        return contribution_of(
            work,
            seconds=(time.monotonic() if mark is None else mark.at) - self.since,
            started_at=self.started_at,
            energy=self.energy if mark is None else mark.energy,
            id=self.id,
            run_id=self.swarm.run_id,
            session_id=self.swarm.session_id,
            training_id=self.swarm.training_id,
            participant=self.participant,
        )


class Recorder:
    """Records contributions from `open` to `close`, and owns the ledger.

    The session subscribes `note` to the store's events.
    """

    def __init__(self, store: Store, *, folders: Folders) -> None:
        self.ledger = LedgerThread(folders.ledger_file, backend=store.settings.backend_url)
        self._folders = folders
        self._seconds = store.settings.report_interval
        self._store = store
        self.energy = EnergyMeter()
        """Of the device that trains, or has trained last; read every few seconds."""
        self._devices: tuple[Device, ...] = ()
        self._used = Question(_energy_used, counts=True)
        self._key: MachineKey
        self._running: _Running | None = None
        self._finished: list[Contribution] = []
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._closing = self._complained = False

    async def open(self) -> None:
        """Open the ledger, and finish the intervals that an earlier run of the app left open.

        Raises `DatabaseError` or `MachineKeyError` when the ledger or this machine's key can't be
        used.
        """
        recovery = await self.ledger.open()
        self._key = await asyncio.to_thread(_load_key, self._folders.machine_key_file)
        try:
            finished = await self.ledger.run(_finish_left_open, self._key)
        except sqlite3.Error as error:  # the disk is full
            raise unusable(self._folders.ledger_file, error) from error
        if finished:
            log.info("finished %d contributions that an earlier run left open", finished)
        if recovery is not None:
            self._store.dispatch(ProblemRaised(problem=_damaged(recovery)))
        self._writing = asyncio.create_task(self._keep_writing())

    async def finish(self) -> None:
        """Stop measuring and save what was measured. The ledger stays open for the delivery."""
        self._leave()
        self._closing = True
        self._wake.set()
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def close(self) -> None:
        """Finish, then close the ledger. May be called twice."""
        await self.finish()
        await self.ledger.close()

    @property
    def public_key(self) -> str:
        """Public part of the key that signs contributions, base64. Only after `open`."""
        return self._key.public_key

    @property
    def current(self) -> Contribution | None:
        """The contribution that the current interval would become now; None outside a swarm."""
        running = self._running
        return None if running is None else running.contribution(running.interval.so_far)

    async def transferred(self, since: float) -> int:
        """Bytes of tensors exchanged with other peers, both ways, since ``since`` (seconds since
        the epoch)."""
        done, current = await self.ledger.run(Ledger.totals, since), self.current
        going_on = current.bytes_sent + current.bytes_received if current is not None else 0
        return done.bytes_sent + done.bytes_received + going_on

    async def summary(self) -> Summary:
        """Sum up all contributions. Raises `DatabaseError` when the ledger can't be read."""
        try:
            return await self.ledger.run(summary_of, time.time())
        except sqlite3.Error as error:
            raise DatabaseError(
                _("your contributions can't be read: {reason}.").format(reason=error),
                field=str(self._folders.ledger_file),
            ) from error

    async def export(self, path: Path) -> int:
        """Write all contributions to a file; returns how many. See `app.contributions.export`.

        Raises `ExportError`.
        """
        from app.contributions.export import write

        return await asyncio.to_thread(
            write, path, ledger_file=self._folders.ledger_file, key=self._key
        )

    # --- measuring

    def note(self, event: Event, state: ContributorState) -> None:
        """Take note of an event. state: the app's state after it."""
        match event:
            case Joined(peer_id=peer_id) if self._running is None and state.swarm is not None:
                if text := unreported(state):
                    log.info("%s", text)
                self._running = _Running.begun(
                    state.swarm, participant=peer_id, interval=Interval()
                )
            case Ready():
                self._devices = state.devices_of(event)
            case Work():
                self._change(lambda interval: interval.counted(event))
            case TrainerGone(problem=problem):
                killed = problem is not None
                self._change(lambda interval: interval.trainer_gone(killed=killed))
                self._finish()
            case Left():
                self._leave()

    def _change(self, how: Callable[[Interval], Interval]) -> None:
        if self._running is not None:
            self._running = self._running.changed(how(self._running.interval))

    def _finish(self) -> None:
        """End the current interval now and begin the next, if any sample has entered or missed a
        round."""
        running = self._running
        if running is not None and running.interval.so_far.samples_computed:
            self._finished.append(running.contribution(running.interval.so_far))
            self._running = running.next()
            self._wake.set()

    def _leave(self) -> None:
        self._change(Interval.trainer_gone)
        self._finish()
        self._running = None

    def _finish_if_due(self) -> None:
        running = self._running
        if running is None or time.monotonic() - running.since < self._seconds:
            return
        mark = running.mark
        if mark is not None and mark.interval.so_far.compute_seconds >= LEAST_REPORTED:
            self._finished.append(running.contribution(mark.interval.so_far, mark=mark))
            self._running = running.after(mark)
        elif running.interval.is_untouched:
            self._running = running.next()  # no work was done, so its time isn't reported

    # --- writing

    async def _keep_writing(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            await self._try_to_write()
        await self._try_to_write()

    async def _try_to_write(self) -> None:
        # what is in memory is tried again at the next heartbeat
        with survived(log, "contributions could not be written down"):
            try:
                await self._measure_energy()
                self._finish_if_due()
                await self._write()
            except sqlite3.Error as error:
                self._complain(error)

    async def _measure_energy(self) -> None:
        used = await self._used.answer(self.energy, self._devices)
        if self._finished:  # an interval has just ended, so the energy is that interval's
            last = self._finished[-1]
            joules = used if last.energy is None else last.energy + (used or 0.0)
            self._finished[-1] = replace(last, energy=joules)
        elif self._running is not None and not self._running.interval.is_untouched:
            self._running = self._running.using(used)

    async def _write(self) -> None:
        while self._finished:
            await self.ledger.run(_add, self._finished[0], self._key)
            del self._finished[0]
            self._complained = False
        running = self._running
        if running is not None and not running.interval.is_untouched:
            # If the app is killed, the trainer ends with it: what waits for a round isn't decided.
            await self.ledger.run(Ledger.save_open, running.contribution(running.interval.so_far))

    def _complain(self, error: sqlite3.Error) -> None:
        log.warning("contributions could not be written down: %s", error)
        if not self._complained:
            self._complained = True
            self._store.dispatch(
                ProblemRaised(problem=_unwritable(error, self._folders.ledger_file))
            )


def _load_key(path: Path) -> "MachineKey":
    from app.common.signing import MachineKey

    return MachineKey.load_or_create(path)


def _energy_used(meter: EnergyMeter, devices: tuple[Device, ...]) -> float | None:
    return meter.take(devices)


def _add(ledger: Ledger, contribution: Contribution, key: "MachineKey") -> None:
    ledger.add(contribution.signed(key))


def _finish_left_open(ledger: Ledger, key: "MachineKey") -> int:
    """Put the intervals that an earlier run left open into the outbox; returns how many."""
    left = ledger.left_open()
    for contribution in left:
        if contribution.samples_computed:
            ledger.add(contribution.signed(key))
        else:
            ledger.drop_open(contribution.id)
    return sum(bool(contribution.samples_computed) for contribution in left)


def _damaged(recovery: Recovery) -> Problem:
    message = _("the record of your contributions was damaged, and a new one was begun.")
    if recovery.recovered:
        message = ngettext(
            "the record of your contributions was damaged: {count} could still be read.",
            "the record of your contributions was damaged: {count} could still be read.",
            recovery.recovered,
        ).format(count=recovery.recovered)
    if recovery.lost:
        lost = ngettext(
            "{count} could not be read, and isn't reported if it was not before.",
            "{count} could not be read, and aren't reported if they were not before.",
            recovery.lost,
        ).format(count=recovery.lost)
        message = f"{message} {lost}"
    return Problem(
        message=message,
        field="",
        remedy=_("The damaged file was kept: {path}").format(path=recovery.aside),
    )


def _unwritable(error: Any, path: Path) -> Problem:
    return Problem(
        message=_("your contributions can't be written down: {reason}.").format(reason=error),
        field=str(path),
        remedy=_("Free some space on the disk. Until then they are kept in memory."),
    )
