"""The ledger's outbox: which contributions wait to be reported, are being reported, or were.

`app.contributions.ledger` draws the states and the steps between them.
"""

import sqlite3
from dataclasses import dataclass, fields
from enum import StrEnum

from app.common.errors import CoTrainError
from app.contributions.accounting import Contribution, ReportedNumbers

LONGEST_WAIT = 3 * 24 * 3600.0
"""Seconds. No contribution is postponed for longer."""


class OutboxState(StrEnum):
    """How far a contribution has come."""

    OPEN = "open"
    """Its interval has not ended yet."""

    WAITING = "waiting"
    """Not reported yet, or known not to be counted: to be sent when it is due."""

    SENDING = "sending"
    """Its request has begun, and the answer isn't known."""

    CONFIRMED = "confirmed"
    """The backend has counted it."""

    REFUSED = "refused"
    """The backend doesn't take it."""

    LOCAL = "local"
    """Never reported, because the backend doesn't know its run."""


class WrongStateError(CoTrainError):
    """A contribution can't change from its state to the wanted one: a defect of the caller."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A contribution and how reporting it went so far. Times in seconds since the epoch."""

    number: int
    """Rises from contribution to contribution; for paging."""

    contribution: Contribution
    state: OutboxState

    attempts: int
    """How often it was sent."""

    attempted_at: float | None
    """When it was sent last; None if never."""

    due_at: float
    """Not to be sent before this time."""

    settled_at: float | None
    """When it was confirmed or refused; None if neither."""

    remark: str
    """How it was confirmed, or why it was refused or postponed."""


class Outbox:
    """How far reporting has come; the delivery of reports works on it.

    It uses the ledger's connection, so call it on the ledger's thread.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.revision = 0
        """Rises with each change of a contribution's state."""

    def next_waiting(self, now: float) -> Contribution | None:
        """The oldest contribution that is due; None when there is none.

        One whose due time is more than `LONGEST_WAIT` ahead counts as due: a wrong clock set it.
        """
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE state = 'waiting'"
            " AND (due_at <= :now OR due_at > :now + :longest) ORDER BY number LIMIT 1",
            {"now": now, "longest": LONGEST_WAIT},
        ).fetchone()
        return None if row is None else contribution_of_row(row)

    def begin_sending(self, id: str, at: float) -> None:
        """Waiting to sending. Call it before each request that reports the contribution."""
        self._move(
            "UPDATE contributions SET state = 'sending', attempted_at = ?, attempts = attempts + 1"
            " WHERE id = ? AND state = 'waiting'",
            (at, id),
        )

    def uncertain(self) -> list[Contribution]:
        """The contributions that were sent and whose answer isn't known, oldest first."""
        found = self._connection.execute(
            "SELECT * FROM contributions WHERE state = 'sending' ORDER BY number"
        )
        return [contribution_of_row(row) for row in found]

    def confirm(self, id: str, at: float, how: str) -> None:
        """Sending to confirmed: the backend has counted it. May be called twice.

        how: kept as the remark, such as the way that the report went.
        """
        self._move(
            "UPDATE contributions SET state = 'confirmed', settled_at = ?, remark = ?"
            " WHERE id = ? AND state IN ('sending', 'confirmed')",
            (at, how, id),
        )

    def refuse(self, id: str, at: float, reason: str) -> None:
        """Waiting or sending to refused: the backend will never take it as it is."""
        self._move(
            "UPDATE contributions SET state = 'refused', settled_at = ?, remark = ?"
            " WHERE id = ? AND state IN ('waiting', 'sending')",
            (at, reason, id),
        )

    def postpone(self, id: str, until: float, reason: str) -> None:
        """Back to waiting, as the backend hasn't counted it. It is due at ``until``."""
        self._move(
            "UPDATE contributions SET state = 'waiting', due_at = ?, remark = ?"
            " WHERE id = ? AND state IN ('waiting', 'sending')",
            (until, reason, id),
        )

    def _move(self, statement: str, values: tuple[float | str, ...]) -> None:
        if self._connection.execute(statement, values).rowcount != 1:
            raise WrongStateError(f"no such contribution in that state: {values[-1]}")
        self.revision += 1

    def take_back_refused(self, due_at: float) -> None:
        """All refused ones back to waiting, because the user wants to try again."""
        self._connection.execute(
            "UPDATE contributions SET state = 'waiting', due_at = ?, settled_at = NULL"
            " WHERE state = 'refused'",
            (due_at,),
        )
        self.revision += 1

    def entry(self, id: str) -> LedgerEntry | None:
        """The contribution with this id; None when there is none."""
        found = self._connection.execute("SELECT * FROM contributions WHERE id = ?", (id,))
        row = found.fetchone()
        return None if row is None else entry_of_row(row)

    # --- to go on after a restart, and to reconcile

    def last_attempt(self) -> LedgerEntry | None:
        """The contribution that was sent last; None when none was sent yet."""
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE attempted_at IS NOT NULL"
            " ORDER BY attempted_at DESC LIMIT 1"
        ).fetchone()
        return None if row is None else entry_of_row(row)

    def next_due(self) -> float | None:
        """The earliest due time of those that wait; None when none waits."""
        row = self._connection.execute(
            "SELECT due_at FROM contributions WHERE state = 'waiting' ORDER BY due_at LIMIT 1"
        ).fetchone()
        return None if row is None else float(row["due_at"])

    def confirmed_numbers(
        self, *, session_id: int | None, participant: str
    ) -> list[ReportedNumbers]:
        """The reported numbers of all confirmed contributions of a session and a participant."""
        found = self._connection.execute(
            "SELECT compute_time, gradient_quality, data_transmitted, uptime_ratio"
            " FROM contributions WHERE state = 'confirmed'"
            " AND session_id = ? AND participant = ? ORDER BY number",
            (session_id, participant),
        )
        return [tuple(row) for row in found]


_COLUMNS = tuple(field.name for field in fields(Contribution))


def contribution_of_row(row: sqlite3.Row) -> Contribution:
    """A contribution from a row that has all columns of the table."""
    return Contribution(**{name: row[name] for name in _COLUMNS})


def entry_of_row(row: sqlite3.Row) -> LedgerEntry:
    """An entry from a row that has all columns of the table."""
    return LedgerEntry(
        number=row["number"],
        contribution=contribution_of_row(row),
        state=OutboxState(row["state"]),
        attempts=row["attempts"],
        attempted_at=row["attempted_at"],
        due_at=row["due_at"],
        settled_at=row["settled_at"],
        remark=row["remark"],
    )
