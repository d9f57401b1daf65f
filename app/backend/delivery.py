"""Sends the contributions in the ledger's outbox to the backend: none is lost or counted twice.

The backend gives reports no ids and counts a repeated report twice, so it is up to us to have each
one counted exactly once:

1. A contribution is in the ledger before anything is sent, and its state on the disk is *sending*
   before its request begins. So the ledger tells at any moment, even after a kill, which
   contributions were certainly not sent and which ones may have been.
2. A contribution becomes *confirmed* only when the backend confirms it. It goes back to *waiting*
   only after an answer that rules out that it was counted: a refusal by the validation, a 429, a
   connection that was never made.
3. After anything else it is *in doubt*: a lost answer, a time-out, a 5xx, a 400 with which the
   backend wraps an error of its own, a kill. Then we wait until the request must have ended
   (`DeliveryPace.settle`), read back what the backend has counted for this node, and match these
   rows with the contributions that are confirmed and in doubt (`app.backend.reconciling`). One that
   gets a row is confirmed, one that gets none is sent again.
4. What the backend has confirmed and forgotten, because it keeps contributions in memory, is put
   back into the outbox if the volunteer wants it: each once for each time that it was forgotten.

This can't hold in the following cases:

- The backend counts a request later than `DeliveryPace.settle` after its connection broke: the
  contribution is counted twice. Without ids no client can tell; the wait makes it unlikely.
- The backend hides rows for longer than `DeliveryPace.settle` and shows them again, as several
  servers with a memory each would: what was reported again is counted twice.
- The backend changes a row whose answer was lost by more than rounding: the contribution is sent
  again.
- The ledger was lost, and the backend has rows from before: a contribution in doubt may be taken
  for one of these rows, and is not sent again.
- The data folder is restored from a backup: what was sent since the backup is not known to be sent,
  and what waited at that time is sent again.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.backend.budget import MAX_PAUSE_SECONDS
from app.backend.client import Backend
from app.backend.errors import (
    BackendError,
    RateLimitedError,
    RefusedError,
    UncertainError,
    UnreachableError,
)
from app.backend.offers import Listing
from app.backend.pace import SYSTEM, USUAL, Clock, DeliveryPace
from app.backend.reconciling.doubts import Doubts
from app.backend.reconciling.memory import BackendMemory
from app.backend.ways import Ways
from app.common.background import survived
from app.common.backoff import Backoff
from app.common.i18n import _
from app.contributions.accounting import Contribution
from app.contributions.ledger import LedgerThread
from app.contributions.outbox import Outbox, OutboxState
from app.contributions.recall import forgotten_count
from app.state.facts import ReportingState, ReportingStatus
from app.state.store import ReadableStore

log = logging.getLogger(__name__)

REFUSALS_SECONDS = 7 * 24 * 3600.0
"""How long a refused contribution is told of."""

CLOSE_SECONDS = 3.0
"""How long a report that has begun may take when the app ends. After that it is in doubt."""

LAST_CALL_SECONDS = 1.0
"""How long new reports are begun when the app ends, for the contribution of the last interval."""


class Delivery:
    """Sends what the outbox holds, in one task from `start` to `close`.

    store: for the setting ``refill``, and the state to begin with. on_change: called with each new
    state, on the loop's thread.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        *,
        backend: Backend,
        ways: Ways,
        store: ReadableStore,
        on_change: Callable[[ReportingState], None],
        pace: DeliveryPace = USUAL,
        clock: Clock = SYSTEM,
    ) -> None:
        self.state = store.state.reporting
        self._outbox = ledger.outbox
        self._backend = backend
        self._ways = ways
        self._listing = Listing(backend, clock=clock.steady)
        self._kept: dict[tuple[str, int | None], str] = {}  # by run and session, why
        self._on_change = on_change
        self._pace = pace
        self._clock = clock
        self._sending = Backoff(first=pace.first, longest=pace.longest, clock=clock.steady)
        self._reading = Backoff(first=pace.first, longest=pace.longest, clock=clock.steady)
        self._doubts = Doubts(
            ledger.outbox,
            backend=backend,
            clock=clock,
            settle=pace.settle,
            sending=self._sending,
        )
        self._memory = BackendMemory(
            ledger.outbox, backend=backend, store=store, clock=clock, pace=pace
        )
        self._resumed = False
        self._impatient = False
        self._closing = False
        self._last_call = math.inf
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- life

    def start(self) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._work())

    def wake(self, *, impatient: bool = False) -> None:
        """Look at the outbox now. impatient: send also what was postponed."""
        if impatient:
            self._impatient = True
            self._sending.clear()
            self._reading.clear()
        self._woken.set()

    async def retry(self) -> None:
        """Send now all that waits, also what was postponed or refused."""
        self._listing.ask_again()
        await self._outbox.run(Outbox.take_back_refused, self._clock.wall())
        await self._outbox.run(Outbox.take_back_kept, self._clock.wall())
        self.wake(impatient=True)

    async def refill(self) -> None:
        """Report again what the backend has forgotten, because the user wants to."""
        await self._memory.refill_now()
        self.wake()

    async def close(self) -> None:
        """Send what can be sent in a few seconds, and stop. May be called twice."""
        self._closing = True
        self._last_call = self._clock.steady() + LAST_CALL_SECONDS
        self._woken.set()
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await task
        await self._ways.close()

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            last = self._closing
            pause = self._pace.poll
            with survived(log, "reporting failed"):
                pause = await self.step()
            if last:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def step(self) -> float:
        """Do all that can be done now; returns the seconds until the next step."""
        pause = self._pace.poll
        if self._backend.account.email:
            await self._resume()
            await self._reconcile()
            if not self._doubts and self._sending.remaining == 0 and not self._closing:
                await self._memory.look()
            await self._memory.refill()
            await self._send_all()
            self._show_rest(left=await self._outbox.run(Outbox.next_due) is not None)
            may_refill = self._memory.refills.wait == 0
            pause = self._pause(await self._outbox.run(Outbox.next_due, refills=may_refill))
        else:
            self._show(ReportingStatus.OFF)
        forgotten = await self._outbox.run(forgotten_count)
        since = self._clock.wall() - REFUSALS_SECONDS
        refused = await self._outbox.run(Outbox.refused_since, since)
        self._change(kept=tuple(self._kept.items()), forgotten=forgotten, refused=refused)
        return pause

    async def _send_all(self) -> None:
        """Send what waits, while the backend takes it."""
        while self._sending.remaining == 0 == self._ways.wait:
            if self._clock.steady() >= self._last_call:
                break
            try:
                report = await self._next()
            except BackendError as error:
                self._trouble(error, wait=self._sending.fail(at_least=error.seconds))
                break
            if report is None:
                break
            await self._send(report)

    def _pause(self, due_at: float | None) -> float:
        """Seconds until there is something to do. due_at: earliest due time of those that wait."""
        pauses = [self._pace.poll]
        if due_at is not None:
            gates = (self._sending.remaining, self._ways.wait)
            pauses.append(max(due_at - self._clock.wall(), *gates))
        pauses += [max(wait, self._reading.remaining) for wait in self._doubts.waits()]
        if not self._doubts:
            pauses.append(max(self._memory.wait, self._sending.remaining))
        return max(0.01, min(pauses))

    # --- sending

    async def _next(self) -> Contribution | None:
        """The next one to send; those that the backend lists no session for are kept local.

        Raises `BackendError` when the backend doesn't say what it lists.
        """
        due = math.inf if self._impatient else self._clock.wall()
        while report := await self._outbox.run(
            Outbox.next_waiting, due, refills=self._memory.refills.wait == 0
        ):
            claim = (report.run_id, report.session_id)
            if await self._listing.has(report):
                if self._kept.pop(claim, ""):  # the others may be listed by now as well
                    await self._outbox.run(Outbox.take_back_kept, self._clock.wall())
                    continue
                return report
            reason = _not_listed(report)
            if claim not in self._kept:
                log.warning("contributions are kept here: %s", reason)
            self._kept[claim] = reason
            await self._outbox.run(Outbox.keep_local, report, self._clock.wall(), reason)
        self._impatient = False
        return None

    async def _send(self, report: Contribution) -> None:
        entry = await self._outbox.run(Outbox.entry, report.id)
        if entry is not None and entry.refills:
            self._memory.refills.take(reserved=True)
        await self._outbox.run(Outbox.begin_sending, report.id, self._clock.wall())
        try:
            way = await self._ways.submit(report)
        except UncertainError as error:
            self._doubts.add(report.id, reason=error.text)
            self._trouble(error, wait=self._sending.fail())
        except BackendError as error:
            await self._not_counted(report, error)
        else:
            self._sending.clear()
            await self._outbox.run(Outbox.confirm, report.id, self._clock.wall(), way)
            self._memory.reported_over(self._ways.connections)
            self._show(ReportingStatus.ON, way=way)

    async def _not_counted(self, report: Contribution, error: BackendError) -> None:
        """Refuse or postpone a report that is known not to be counted."""
        if isinstance(error, RefusedError) and error.is_final:
            log.warning("a contribution was refused: %s", error.text)
            await self._outbox.run(Outbox.refuse, report.id, self._clock.wall(), error.text)
            return
        wait = self._sending.fail(at_least=error.seconds)
        until = self._clock.wall() + wait
        await self._outbox.run(Outbox.postpone, report.id, until, error.text)
        self._trouble(error, wait=wait)

    # --- what is in doubt

    async def _resume(self) -> None:
        """Continue the back-off of an earlier run of the app, and ask again for sessions that
        were not listed. Does so only once."""
        if self._resumed:
            return
        self._resumed = True
        await self._outbox.run(Outbox.take_back_kept, self._clock.wall())
        last = await self._outbox.run(Outbox.last_attempt)
        if last is not None and last.state is OutboxState.WAITING:
            remaining = min(max(0.0, last.due_at - self._clock.wall()), MAX_PAUSE_SECONDS)
            self._sending.resume(failures=last.attempts, remaining=remaining)

    async def _reconcile(self) -> None:
        """Find out whether those in doubt were counted, once their requests must have ended."""
        if self._reading.remaining > 0:
            return
        try:
            if await self._doubts.reconcile():
                self._reading.clear()
        except BackendError as error:
            self._trouble(error, wait=self._reading.fail(at_least=error.seconds))

    # --- what is shown

    def _trouble(self, error: BackendError, *, wait: float) -> None:
        log.warning("reporting: %s (again in %.0f s)", error.text, wait)
        if isinstance(error, UnreachableError | UncertainError):
            self._memory.lost()
        mild = isinstance(error, RateLimitedError | UncertainError)
        self._show(
            ReportingStatus.WAITING if mild else ReportingStatus.FAILING,
            reason=error.message,
            remedy=error.remedy,
            next_try=self._clock.wall() + wait,
        )

    def _show_rest(self, *, left: bool) -> None:
        """Show the state after a step. left: whether some still wait to be sent."""
        if not left and not self._doubts:
            self._show(ReportingStatus.ON)
        elif self._ways.wait > 0 and self._sending.remaining == 0:
            self._show(
                ReportingStatus.WAITING,
                reason=_("the backend takes only so many reports at a time."),
                next_try=self._clock.wall() + self._ways.wait,
            )

    def _show(
        self,
        status: ReportingStatus,
        *,
        reason: str = "",
        remedy: str = "",
        next_try: float | None = None,
        way: str = "",
    ) -> None:
        before = self.state
        self._change(
            status=status,
            since=before.since if status is before.status else self._clock.wall(),
            signed_in_as=self._backend.account.email,
            reason=reason,
            remedy=remedy,
            next_try=next_try,
            way=way or before.way,
        )

    def _change(self, **changes: Any) -> None:
        before, self.state = self.state, replace(self.state, **changes)
        if self.state != before:
            self._on_change(self.state)


def _not_listed(report: Contribution) -> str:
    return _(
        "the backend lists no session {number} for the swarm {run_id}; its organiser must"
        " put both into the session's configuration"
    ).format(number=report.session_id, run_id=report.run_id)
