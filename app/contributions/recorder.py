"""What this machine contributes, from the trainer's counters to the ledger.

Time in a swarm is cut into intervals. One ends when the reporting interval is over, when a
trainer ends, and when we leave, and becomes a contribution if the fate of any sample was settled
in it; else it goes on. While it goes on it is written down every few seconds, so that a crash
costs no more than those.
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

from app.common.errors import LedgerError
from app.common.i18n import _
from app.common.paths import Folders
from app.contributions.accounting import Contribution, Interval, contribution_of
from app.contributions.ledger import Ledger, LedgerThread
from app.contributions.summary import Summary, summary_of
from app.machine.energy import EnergyMeter
from app.protocol import Ready, Work
from app.state.events import Event, Joined, Left, ProblemRaised, TrainerGone
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.store import Store

if TYPE_CHECKING:
    from app.common.signing import MachineKey

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
"""How often the interval that goes on is written down."""


@dataclass(frozen=True, kw_only=True)
class _Running:
    """An interval with its times. started_at: by the clock on the wall; since: monotonic."""

    swarm: Swarm
    participant: str
    interval: Interval = field(default_factory=Interval)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: float = field(default_factory=time.time)
    since: float = field(default_factory=time.monotonic)
    energy: float | None = None

    def next(self) -> "_Running":
        return _Running(
            swarm=self.swarm, participant=self.participant, interval=self.interval.next()
        )

    def using(self, energy: float | None) -> "_Running":
        """With more joules used, as far as known."""
        return self if energy is None else replace(self, energy=(self.energy or 0.0) + energy)

    def contribution(self, work: Work) -> Contribution:
        return contribution_of(
            work,
            seconds=time.monotonic() - self.since,
            started_at=self.started_at,
            energy=self.energy,
            id=self.id,
            run_id=self.swarm.run_id,
            session_id=self.swarm.session_id,
            training_id=self.swarm.training_id,
            participant=self.participant,
        )


class Recorder:
    """Measures from `open` to `close`. Somebody else subscribes `note` to the store's events.

    ledger: where contributions are kept, for those who report and show them.
    """

    def __init__(self, store: Store, *, folders: Folders) -> None:
        self.ledger = LedgerThread(folders.ledger_file)
        self._folders = folders
        self._seconds = store.settings.report_interval
        self._store = store
        self._energy = EnergyMeter()
        self._device = ("", "")
        self._key: MachineKey
        self._running: _Running | None = None
        self._finished: list[Contribution] = []
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._closing = self._complained = False

    async def open(self) -> None:
        """Open the ledger, and finish what an earlier run of the app did not live to.

        Raises `LedgerError` or `MachineKeyError`, when they can't be used.
        """
        aside = await self.ledger.open()
        self._key = await asyncio.to_thread(_load_key, self._folders.machine_key_file)
        recovered = await self.ledger.run(_finish_left_open, self._key)
        if recovered:
            log.info("%d contributions of an earlier run were finished", recovered)
        if aside is not None:
            self._store.dispatch(ProblemRaised(problem=_damaged(aside)))
        self._writing = asyncio.create_task(self._keep_writing())

    async def finish(self) -> None:
        """Measure no more, and write down what was; the ledger stays open for who reports."""
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
        """Of the key that signs what this machine did (base64); there once it is open."""
        return self._key.public_key

    @property
    def current(self) -> Contribution | None:
        """What the interval that goes on would make now; None outside of a swarm."""
        running = self._running
        return None if running is None else running.contribution(running.interval.so_far)

    async def transferred(self, since: float) -> int:
        """Bytes of tensors that went to other peers and came from them since a time, in seconds
        since the epoch."""
        done, current = await self.ledger.run(Ledger.totals, since), self.current
        going_on = current.bytes_sent + current.bytes_received if current is not None else 0
        return done.bytes_sent + done.bytes_received + going_on

    async def summary(self) -> Summary:
        """All of it summed up. Raises `LedgerError` when it can't be read."""
        try:
            return await self.ledger.run(summary_of, time.time())
        except sqlite3.Error as error:
            raise LedgerError(
                _("your contributions can't be read: {reason}.").format(reason=error),
                field=str(self._folders.ledger_file),
            ) from error

    async def export(self, path: Path) -> int:
        """Write all contributions as CSV or signed JSON, by the ending; returns how many.

        Raises `ExportError`.
        """
        from app.contributions.export import write

        return await asyncio.to_thread(
            write, path, ledger_file=self._folders.ledger_file, key=self._key
        )

    # --- measuring

    def note(self, event: Event, state: ContributorState) -> None:
        """Take in what happened. state: after it."""
        match event:
            case Joined(peer_id=peer_id) if self._running is None and state.swarm is not None:
                self._running = _Running(swarm=state.swarm, participant=peer_id)
            case Ready():
                self._device = (event.device, event.device_name)
            case Work():
                self._change(lambda interval: interval.counted(event))
            case TrainerGone():
                self._change(Interval.trainer_gone)
                self._finish()
            case Left():
                self._leave()

    def _change(self, how: Callable[[Interval], Interval]) -> None:
        if self._running is not None:
            self._running = replace(self._running, interval=how(self._running.interval))

    def _finish(self) -> None:
        """Begin a new interval, if anything was settled in the one that goes on."""
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
        self._finish()
        if running is self._running and running.interval.is_untouched:
            self._running = running.next()  # idle: nobody's time to report

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
        try:
            await self._measure_energy()
            self._finish_if_due()
            await self._write()
        except sqlite3.Error as error:
            self._complain(error)
        except Exception:  # this task's edge: what is in memory is tried again
            log.exception("contributions could not be written down")

    async def _measure_energy(self) -> None:
        used = await asyncio.to_thread(self._energy.take, *self._device)
        if self._finished:  # it ended just now, and this woke us
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
            # as if it ended now: if it does, nobody will be there to tell us
            await self.ledger.run(Ledger.save_open, running.contribution(running.interval.if_ended))

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


def _add(ledger: Ledger, contribution: Contribution, key: "MachineKey") -> None:
    ledger.add(contribution.signed(key))


def _finish_left_open(ledger: Ledger, key: "MachineKey") -> int:
    """Put what an earlier run left open into the outbox; returns how many."""
    left = ledger.left_open()
    for contribution in left:
        if contribution.samples_computed:
            ledger.add(contribution.signed(key))
        else:
            ledger.drop_open(contribution.id)
    return sum(bool(contribution.samples_computed) for contribution in left)


def _damaged(aside: Path) -> Problem:
    return Problem(
        message=_("the record of your contributions was damaged, and a new one was begun."),
        field="",
        remedy=_("The damaged file was kept: {path}").format(path=aside),
    )


def _unwritable(error: Any, path: Path) -> Problem:
    return Problem(
        message=_("your contributions can't be written down: {reason}.").format(reason=error),
        field=str(path),
        remedy=_("Free some space on the disk. Until then they are kept in memory."),
    )
