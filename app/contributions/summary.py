"""Sums up this machine's contributions for people: today, this week, in all, and day by day."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.contributions.accounting import Contribution
from app.contributions.fates import SwarmFate, fates_of
from app.contributions.ledger import Ledger, LedgerTotals
from app.contributions.outbox import OutboxState
from app.contributions.recall import forgotten_count

DAYS = 30
"""How many of the last days are shown one by one."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Sums over finished contributions. Days are in local time."""

    today: LedgerTotals

    week: LedgerTotals
    """Since Monday."""

    all: LedgerTotals

    days: dict[str, LedgerTotals | None]
    """The last `DAYS` days by ISO date, today last; None for a day on which no contribution
    ended."""

    swarms: dict[str, LedgerTotals]
    """By run id, the run with the latest contribution first."""

    refusals: dict[str, int]
    """The backend's reasons for refusing contributions, and the number refused for each."""

    kept: dict[str, int]
    """Why contributions to a session are not reported, and the number for each reason."""

    elsewhere: dict[str, int]
    """How many wait to be reported to another backend than the current one, by its URL."""

    fates: dict[str, SwarmFate]
    """Where the contributions to each swarm are reported, or why not, by run id."""

    forgotten: int
    """How many the backend has confirmed and no longer knows."""

    newest: Contribution | None
    """The newest contribution to a run that the backend knows."""

    @property
    def on_their_way(self) -> int:
        """How many contributions wait to be reported or are being reported."""
        counts = self.all.counts
        of_all = counts[OutboxState.WAITING] + counts[OutboxState.SENDING]
        return of_all - sum(self.elsewhere.values())


def summary_of(ledger: Ledger, now: float) -> Summary:
    """Sum up a ledger. now: seconds since the epoch.

    Takes up to a second with half a year of contributions, so call it on the ledger's thread.
    """
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
        kept=ledger.kept(),
        elsewhere=ledger.elsewhere(),
        fates=fates_of(ledger.outbox),
        forgotten=forgotten_count(ledger.outbox),
        newest=ledger.newest_of_a_session(),
    )
