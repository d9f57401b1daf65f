"""Notices that the backend has forgotten contributions, and has them reported again if wanted.

The backend keeps contributions in memory, so each start begins a new life in which it knows
nothing. There is no sign of it but the missing rows. So what was confirmed is compared with what
the backend lists: at the start, after the connection was lost, and a few times a day. Only what is
missing twice is taken for forgotten, since a backend that starts may not have read its rows yet.

In each life every contribution is reported once: it is put back into the outbox when it was seen to
be missing, and is as any other from then on.
"""

import asyncio
import logging

from app.backend.budget import Budget
from app.backend.client import Backend
from app.backend.errors import BackendError
from app.backend.pace import Clock, DeliveryPace
from app.backend.reconciling.matching import CountedRows
from app.common.backoff import Backoff
from app.contributions import recall
from app.contributions.ledger import OutboxThread
from app.contributions.recall import ConfirmedReport
from app.state.store import ReadableStore

log = logging.getLogger(__name__)

REFILLS = 45
"""Forgotten contributions that are reported again in `WINDOW_SECONDS`. With those of each minute
they stay below `REQUESTS`."""


class BackendMemory:
    """Compares what was confirmed with what the backend knows.

    store: its setting ``refill`` says what to do with the forgotten.
    """

    def __init__(
        self,
        outbox: OutboxThread,
        *,
        backend: Backend,
        store: ReadableStore,
        clock: Clock,
        pace: DeliveryPace,
    ) -> None:
        self.refills = Budget(requests=REFILLS, clock=clock.steady)
        """For reports of what was forgotten."""
        self._outbox = outbox
        self._backend = backend
        self._store = store
        self._clock = clock
        self._pace = pace
        self._failures = Backoff(first=pace.first, longest=pace.longest, clock=clock.steady)
        self._looked_at = -pace.recall
        self._pause = 0.0
        self._connection = 0
        self._missing: set[str] = set()

    def reported_over(self, connection: int) -> None:
        """A report has got through. connection: the number of the Socket.IO connection; another one
        than before tells that the last one was lost."""
        if connection != self._connection:
            self._connection = connection
            self.lost()

    def lost(self) -> None:
        """The connection was lost, so the backend may have begun a new life."""
        self._pause = min(self._pause, self._pace.recall_again)

    @property
    def wait(self) -> float:
        """Seconds until the next look."""
        due_in = self._looked_at + self._pause - self._clock.steady()
        return max(0.0, due_in, self._failures.remaining)

    async def look(self) -> None:
        """Ask the backend what it knows, if it is time. A failure is logged, and tried again.

        Call it while nothing is in doubt: rows of those in doubt would be taken for others'.
        """
        if self.wait > 0:
            return
        try:
            missing = await self._compare()
        except BackendError as error:
            self._failures.fail(at_least=error.seconds)
            log.info("can't compare what the backend knows: %s", error.text)
            return
        self._failures.clear()
        self._looked_at = self._clock.steady()
        sure, self._missing = missing & self._missing, missing - self._missing
        self._pause = self._pace.settle if self._missing else self._pace.recall
        if sure:
            log.warning("the backend no longer knows %d contributions", len(sure))
            await self._outbox.run(recall.mark_forgotten, sure, self._clock.wall())

    async def _compare(self) -> set[str]:
        """The ids of those that are missing and not yet known to be."""
        missing: set[str] = set()
        for node_id in await self._outbox.run(recall.confirmed_nodes):
            reports = await self._outbox.run(recall.confirmed_reports, node_id)
            rows = CountedRows(each.session_id for each in reports)
            await self._backend.read_back(node_id, take=rows.add, reserved=False)
            for session_id in {each.session_id for each in reports}:
                ours = [each for each in reports if each.session_id == session_id]
                missing |= await self._judge(ours, rows, session_id=session_id)
        return missing

    async def _judge(
        self, reports: list[ConfirmedReport], rows: CountedRows, *, session_id: int
    ) -> set[str]:
        """Compare the reports of one node and session, in the order of their confirmations."""
        forgotten = [each for each in reports if each.forgotten]
        believed = [each for each in reports if not each.forgotten]
        newest_first = believed[::-1] + forgotten[::-1]
        known = await asyncio.to_thread(
            rows.known, [each.numbers for each in newest_first], session_id=session_id
        )
        found = dict(zip([each.id for each in newest_first], known, strict=True))
        again = [each.id for each in forgotten if found[each.id]]
        await self._outbox.run(recall.mark_known, again)
        return {each.id for each in believed if not found[each.id]}

    async def refill(self) -> None:
        """Put what was forgotten back into the outbox if the volunteer wants that always."""
        if self._store.settings.refill == "always":
            await self.refill_now()

    async def refill_now(self) -> None:
        """Put what was forgotten back into the outbox."""
        count = await self._outbox.run(recall.refill, self._clock.wall())
        if count:
            log.info("%d forgotten contributions are reported again", count)
