"""The ledger's outbox: which contributions wait to be reported, are being reported, or were.

`app.contributions.ledger` draws the states and the steps between them.
"""

import sqlite3
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from app.common.errors import CoTrainError
from app.contributions.accounting import LEAST_REPORTED, Contribution, ReportedNumbers

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
    """The backend has counted it; it may have forgotten it since (`LedgerEntry.forgotten_at`)."""

    REFUSED = "refused"
    """The backend doesn't take it."""

    LOCAL = "local"
    """Not reported, because the backend doesn't know its run."""


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
    """How it was confirmed, or why it was refused, postponed or kept local."""

    backend: str | None
    """URL of the backend that it is for; None if an earlier version has recorded it."""

    forgotten_at: float | None
    """When the backend was seen not to know it any more, although it had confirmed it; None if it
    knows it, as far as we know."""

    refills: int
    """How often it was put back into the outbox because the backend had forgotten it."""


class Outbox:
    """How far reporting has come; the delivery of reports works on it.

    It uses the ledger's connection, so call it on the ledger's thread.

    backend: its URL. What is for another one is neither sent there nor looked for there: sessions
    of two backends may have the same number.
    """

    def __init__(self, connection: sqlite3.Connection, *, backend: str) -> None:
        self.connection = connection
        """For `app.contributions.recall`."""
        self.backend = backend
        self.revision = 0
        """Rises with each change of a contribution's state."""

    def next_waiting(self, now: float, *, refills: bool = True) -> Contribution | None:
        """The oldest contribution that is due; None when there is none.

        One whose due time is more than `LONGEST_WAIT` ahead counts as due: a wrong clock set it.

        refills: also those that the backend had forgotten.
        """
        row = self.connection.execute(
            "SELECT * FROM contributions WHERE state = 'waiting' AND backend = :backend"
            " AND (due_at <= :now OR due_at > :now + :longest) AND (:refills OR refills = 0)"
            " ORDER BY number LIMIT 1",
            {"now": now, "longest": LONGEST_WAIT, "backend": self.backend, "refills": refills},
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
        found = self.connection.execute(
            "SELECT * FROM contributions WHERE state = 'sending' AND backend = ? ORDER BY number",
            (self.backend,),
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
        if self.connection.execute(statement, values).rowcount != 1:
            raise WrongStateError(f"no such contribution in that state: {values[-1]}")
        self.revision += 1

    def refused_since(self, since: float) -> int:
        """How many were refused from a time on, in seconds since the epoch."""
        (count,) = self.connection.execute(
            "SELECT count(*) FROM contributions WHERE state = 'refused' AND settled_at >= ?"
            " AND backend = ?",
            (since, self.backend),
        ).fetchone()
        return int(count)

    def take_back_refused(self, due_at: float) -> None:
        """All refused ones back to waiting, because the user wants to try again."""
        self._take_back(OutboxState.REFUSED, due_at, least=0.0)

    def keep_local(self, like: Contribution, at: float, reason: str) -> None:
        """Waiting to local, for all contributions to the same run as ``like``."""
        self.connection.execute(
            "UPDATE contributions SET state = 'local', settled_at = ?, remark = ?"
            " WHERE state = 'waiting' AND backend = ? AND run_id = ? AND session_id = ?",
            (at, reason, self.backend, like.run_id, like.session_id),
        )
        self.revision += 1

    def take_back_kept(self, due_at: float) -> None:
        """All that `keep_local` has kept back to waiting, as the backend may know the run now."""
        self._take_back(OutboxState.LOCAL, due_at, least=LEAST_REPORTED)

    def _take_back(self, state: OutboxState, due_at: float, *, least: float) -> None:
        done = self.connection.execute(
            "UPDATE contributions SET state = 'waiting', due_at = ?, settled_at = NULL"
            " WHERE state = ? AND backend = ? AND session_id IS NOT NULL AND compute_time >= ?",
            (due_at, state, self.backend, least),
        )
        self.revision += done.rowcount

    def entry(self, id: str) -> LedgerEntry | None:
        """The contribution with this id; None when there is none."""
        found = self.connection.execute("SELECT * FROM contributions WHERE id = ?", (id,))
        row = found.fetchone()
        return None if row is None else entry_of_row(row)

    # --- to go on after a restart, and to reconcile

    def last_attempt(self) -> LedgerEntry | None:
        """The contribution that was sent last; None when none was sent yet."""
        row = self.connection.execute(
            "SELECT * FROM contributions WHERE attempted_at IS NOT NULL AND backend = ?"
            " ORDER BY attempted_at DESC LIMIT 1",
            (self.backend,),
        ).fetchone()
        return None if row is None else entry_of_row(row)

    def next_due(self, *, refills: bool = True) -> float | None:
        """The earliest due time of those that wait; None when none waits. refills: as above."""
        row = self.connection.execute(
            "SELECT due_at FROM contributions WHERE state = 'waiting' AND backend = ?"
            " AND (? OR refills = 0) ORDER BY due_at LIMIT 1",
            (self.backend, refills),
        ).fetchone()
        return None if row is None else float(row["due_at"])

    def confirmed_numbers(
        self, *, session_id: int | None, participant: str
    ) -> list[ReportedNumbers]:
        """The reported numbers of a session's and a participant's contributions that the backend
        has confirmed and not forgotten, in the order of the confirmations."""
        found = self.connection.execute(
            "SELECT compute_time, gradient_quality, data_transmitted, uptime_ratio"
            " FROM contributions WHERE state = 'confirmed'"
            " AND session_id = ? AND participant = ? AND backend = ? AND forgotten_at IS NULL"
            " ORDER BY settled_at, number",
            (session_id, participant, self.backend),
        )
        return [tuple(row) for row in found]


_COLUMNS = tuple(field.name for field in fields(Contribution))


Row = sqlite3.Row | dict[str, Any]


def contribution_of_row(row: Row) -> Contribution:
    """A contribution from a row that has all columns of the table."""
    return Contribution(**{name: row[name] for name in _COLUMNS})


def entry_of_row(row: Row) -> LedgerEntry:
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
        backend=row["backend"],
        forgotten_at=row["forgotten_at"],
        refills=row["refills"],
    )
