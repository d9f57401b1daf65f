"""The contributions in doubt: they were sent, and it isn't known whether they were counted."""

import asyncio
import logging
from collections.abc import Iterator

from app.backend.client import Backend
from app.backend.pace import Clock
from app.backend.reconciling.matching import CountedRows
from app.common.backoff import Backoff
from app.common.i18n import _
from app.contributions.accounting import Contribution
from app.contributions.ledger import OutboxThread
from app.contributions.outbox import Outbox

log = logging.getLogger(__name__)


class Doubts:
    """Reads back what the backend has counted, and confirms or sends again what was in doubt.

    settle: see `DeliveryPace.settle`. sending: its jitter delays what is sent again.
    """

    def __init__(
        self,
        outbox: OutboxThread,
        *,
        backend: Backend,
        clock: Clock,
        settle: float,
        sending: Backoff,
    ) -> None:
        self._outbox = outbox
        self._backend = backend
        self._clock = clock
        self._settle = settle
        self._sending = sending
        self._since: dict[str, float] = {}  # by id, on the steady clock
        self._reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether any contribution is in doubt."""
        return bool(self._since)

    def add(self, id: str, *, reason: str) -> None:
        """A report has ended in doubt. reason: what went wrong."""
        self._since[id] = self._clock.steady()
        self._reasons[id] = reason

    def waits(self) -> Iterator[float]:
        """For each in doubt, the seconds until its request must have ended."""
        now = self._clock.steady()
        return (since + self._settle - now for since in self._since.values())

    async def reconcile(self) -> bool:
        """Settle those whose requests must have ended; returns whether the backend was asked.

        Raises `BackendError`; then all stays as it is.
        """
        now = self._clock.steady()
        doubtful = await self._outbox.run(Outbox.uncertain)
        self._since = {each.id: self._since.get(each.id, now) for each in doubtful}
        ripe = [each for each in doubtful if now - self._since[each.id] >= self._settle]
        for node_id in dict.fromkeys(each.participant for each in ripe):
            ours = [each for each in ripe if each.participant == node_id]
            rows = CountedRows(each.session_id for each in ours)
            await self._backend.read_back(node_id, take=rows.add)
            for session_id in dict.fromkeys(each.session_id for each in ours):
                of_session = [each for each in ours if each.session_id == session_id]
                await self._judge(of_session, rows, doubtful=doubtful)
        return bool(ripe)

    async def _judge(
        self, ripe: list[Contribution], rows: CountedRows, *, doubtful: list[Contribution]
    ) -> None:
        """Confirm or send again some contributions in doubt, all of one node and session.

        doubtful: all in doubt, also those that may still be counted. The rows that these fit best
        are left to them.
        """
        session_id, node_id = ripe[0].session_id, ripe[0].participant
        others = [
            each
            for each in doubtful
            if (each.session_id, each.participant) == (session_id, node_id) and each not in ripe
        ]
        confirmed = await self._outbox.run(
            Outbox.confirmed_numbers, session_id=session_id, participant=node_id
        )
        counted = await asyncio.to_thread(
            rows.find, [*ripe, *others], session_id=session_id, confirmed=confirmed
        )
        for report in ripe:
            del self._since[report.id]
            if report in counted:
                self._reasons.pop(report.id, "")
                await self._outbox.run(Outbox.confirm, report.id, self._clock.wall(), "read back")
            else:
                await self._send_again(report)

    async def _send_again(self, report: Contribution) -> None:
        log.info("a report was not counted, and is sent again")
        entry = await self._outbox.run(Outbox.entry, report.id)
        wait = self._sending.jitter(entry.attempts if entry else 1)
        lost = _("the answer was lost, and the backend had not counted it")
        reason = self._reasons.pop(report.id, lost)
        await self._outbox.run(Outbox.postpone, report.id, self._clock.wall() + wait, reason)
