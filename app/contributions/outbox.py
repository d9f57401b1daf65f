"""The ledger's outbox: what has still to be reported, is being reported, or was.

Its states and its way are drawn in `app.contributions.ledger`, of which this is a part.
"""

import sqlite3
from dataclasses import dataclass, fields
from enum import StrEnum

from app.common.errors import CoTrainError
from app.contributions.accounting import Contribution, ReportedNumbers

LONGEST_WAIT = 3 * 24 * 3600.0
"""Seconds; nothing is put off for longer."""


class OutboxState(StrEnum):
    """Where a contribution is on its way."""

    OPEN = "open"  # its interval goes on
    WAITING = "waiting"
    SENDING = "sending"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    LOCAL = "local"  # nobody to report it to


class WrongStateError(CoTrainError):
    """A contribution was to go where it can't go from where it is: a defect of the caller."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A contribution with its way so far.

    number: ever rising, for paging. attempts: how often it was sent, the last time at
    attempted_at. due_at: not to be sent before. settled_at: confirmed or refused. remark: how it
    was confirmed, or why it was refused or postponed. Times in seconds since the epoch.
    """

    number: int
    contribution: Contribution
    state: OutboxState
    attempts: int
    attempted_at: float | None
    due_at: float
    settled_at: float | None
    remark: str


class Outbox:
    """What the reporter works on, over the ledger's connection and on its thread.

    revision: rises with each change of a contribution's state.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.revision = 0

    def next_waiting(self, now: float) -> Contribution | None:
        """The oldest one to be sent now; None when there is none. One that was put off for longer
        than anybody would has a due time by a clock that was wrong, and is sent."""
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE state = 'waiting'"
            " AND (due_at <= :now OR due_at > :now + :never) ORDER BY number LIMIT 1",
            {"now": now, "never": LONGEST_WAIT},
        ).fetchone()
        return None if row is None else contribution_of_row(row)

    def begin_sending(self, id: str, at: float) -> None:
        """Before each request that reports it; it was waiting."""
        self._move(
            "UPDATE contributions SET state = 'sending', attempted_at = ?, attempts = attempts + 1"
            " WHERE id = ? AND state = 'waiting'",
            (at, id),
        )

    def uncertain(self) -> list[Contribution]:
        """Those that were sent without an answer that we know of, oldest first."""
        found = self._connection.execute(
            "SELECT * FROM contributions WHERE state = 'sending' ORDER BY number"
        )
        return [contribution_of_row(row) for row in found]

    def confirm(self, id: str, at: float, how: str) -> None:
        """The backend has it; again is as good as once. how: by which way we know."""
        self._move(
            "UPDATE contributions SET state = 'confirmed', settled_at = ?, remark = ?"
            " WHERE id = ? AND state IN ('sending', 'confirmed')",
            (at, how, id),
        )

    def refuse(self, id: str, at: float, reason: str) -> None:
        """The backend will never take it as it is."""
        self._move(
            "UPDATE contributions SET state = 'refused', settled_at = ?, remark = ?"
            " WHERE id = ? AND state IN ('waiting', 'sending')",
            (at, reason, id),
        )

    def postpone(self, id: str, until: float, reason: str) -> None:
        """The backend doesn't have it: back into the outbox, not before ``until``."""
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
        """Somebody wants the refused ones to be tried again: back into the outbox with them."""
        self._connection.execute(
            "UPDATE contributions SET state = 'waiting', due_at = ?, settled_at = NULL"
            " WHERE state = 'refused'",
            (due_at,),
        )
        self.revision += 1

    def entry(self, id: str) -> LedgerEntry | None:
        """A contribution with its way so far; None when there is none of this id."""
        found = self._connection.execute("SELECT * FROM contributions WHERE id = ?", (id,))
        row = found.fetchone()
        return None if row is None else entry_of_row(row)

    # --- to go on after a restart, and to reconcile

    def last_attempt(self) -> LedgerEntry | None:
        """The one that was sent last; None when none was."""
        row = self._connection.execute(
            "SELECT * FROM contributions WHERE attempted_at IS NOT NULL"
            " ORDER BY attempted_at DESC LIMIT 1"
        ).fetchone()
        return None if row is None else entry_of_row(row)

    def next_due(self) -> float | None:
        """When the first of those that wait may be sent; None when none waits."""
        row = self._connection.execute(
            "SELECT due_at FROM contributions WHERE state = 'waiting' ORDER BY due_at LIMIT 1"
        ).fetchone()
        return None if row is None else float(row["due_at"])

    def confirmed_numbers(
        self, *, session_id: int | None, participant: str
    ) -> list[ReportedNumbers]:
        """What all confirmed contributions of a session and a participant have reported."""
        found = self._connection.execute(
            "SELECT compute_time, gradient_quality, data_transmitted, uptime_ratio"
            " FROM contributions WHERE state = 'confirmed'"
            " AND session_id = ? AND participant = ? ORDER BY number",
            (session_id, participant),
        )
        return [tuple(row) for row in found]


_COLUMNS = tuple(field.name for field in fields(Contribution))


def contribution_of_row(row: sqlite3.Row) -> Contribution:
    """From a row with all columns."""
    return Contribution(**{name: row[name] for name in _COLUMNS})


def entry_of_row(row: sqlite3.Row) -> LedgerEntry:
    """From a row with all columns."""
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
