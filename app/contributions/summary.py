"""What this machine has given, summed up for people: today, this week, all in all, day by day."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.contributions.accounting import Contribution
from app.contributions.ledger import Ledger, LedgerTotals
from app.contributions.outbox import OutboxState

DAYS = 30
"""Shown one by one."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Sums over finished contributions. Days and weeks are the user's, a week from Monday on.

    days: the last `DAYS`, today the last, by ISO date; None on one on which nothing ended.
    swarms: by run id, the latest first. refusals: why some were refused, and how many for each.
    newest: the last one of a run that the backend knows.
    """

    today: LedgerTotals
    week: LedgerTotals
    all: LedgerTotals
    days: dict[str, LedgerTotals | None]
    swarms: dict[str, LedgerTotals]
    refusals: dict[str, int]
    newest: Contribution | None

    @property
    def on_their_way(self) -> int:
        """How many wait to be reported, or are being reported."""
        return self.all.counts[OutboxState.WAITING] + self.all.counts[OutboxState.SENDING]


def summary_of(ledger: Ledger, now: float) -> Summary:
    """Sum up. now: seconds since the epoch. Takes up to a second with half a year's worth, so it
    is the ledger's thread that calls it."""
    today = datetime.fromtimestamp(now).replace(  # noqa: DTZ006  the user's day, on their clock
        hour=0, minute=0, second=0, microsecond=0
    )
    monday = today - timedelta(days=today.weekday())
    days = [today - timedelta(days=age) for age in range(DAYS - 1, -1, -1)]
    by_day = ledger.by_day(days[0].timestamp())
    return Summary(
        today=ledger.totals(today.timestamp()),
        week=ledger.totals(monday.timestamp()),
        all=ledger.totals(),
        days={name: by_day.get(name) for name in (day.date().isoformat() for day in days)},
        swarms=ledger.by_swarm(),
        refusals=ledger.refusals(),
        newest=ledger.newest_of_a_session(),
    )
