"""Which confirmed contributions the backend no longer knows, and their way back to the outbox.

A backend that keeps contributions in memory forgets them when it restarts. The functions take an
`Outbox`, so call them by `OutboxThread.run`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.common.database import transaction
from app.contributions.accounting import ReportedNumbers
from app.contributions.outbox import Outbox


@dataclass(frozen=True, kw_only=True)
class ConfirmedReport:
    """A contribution that the backend has confirmed."""

    id: str
    session_id: int
    numbers: ReportedNumbers

    forgotten: bool
    """The backend was seen not to know it any more."""


def confirmed_nodes(outbox: Outbox) -> list[str]:
    """The participants of whom anything was confirmed, the one confirmed last first."""
    found = outbox.connection.execute(
        "SELECT participant FROM contributions WHERE state = 'confirmed' AND backend = ?"
        " GROUP BY participant ORDER BY max(settled_at) DESC",
        (outbox.backend,),
    )
    return [row["participant"] for row in found]


def confirmed_reports(outbox: Outbox, participant: str) -> list[ConfirmedReport]:
    """All that was confirmed of a participant, in the order of the confirmations."""
    found = outbox.connection.execute(
        "SELECT id, session_id, compute_time, gradient_quality, data_transmitted, uptime_ratio,"
        " forgotten_at IS NOT NULL AS forgotten FROM contributions WHERE state = 'confirmed'"
        " AND participant = ? AND backend = ? AND session_id IS NOT NULL"
        " ORDER BY settled_at, number",
        (participant, outbox.backend),
    )
    return [
        ConfirmedReport(
            id=row["id"],
            session_id=row["session_id"],
            numbers=tuple(row)[2:6],
            forgotten=bool(row["forgotten"]),
        )
        for row in found
    ]


def forgotten_count(outbox: Outbox) -> int:
    """How many confirmed contributions the backend was seen not to know any more."""
    found = outbox.connection.execute(
        "SELECT count(*) FROM contributions WHERE forgotten_at IS NOT NULL AND backend = ?"
        " AND state = 'confirmed'",
        (outbox.backend,),
    )
    return int(found.fetchone()[0])


def mark_forgotten(outbox: Outbox, ids: Iterable[str], at: float) -> None:
    """Note that the backend doesn't know these any more."""
    _mark(outbox, [(at, id) for id in ids])


def mark_known(outbox: Outbox, ids: Iterable[str]) -> None:
    """Note that the backend knows these again."""
    _mark(outbox, [(None, id) for id in ids])


def _mark(outbox: Outbox, values: list[tuple[float | None, str]]) -> None:
    with transaction(outbox.connection):
        outbox.connection.executemany(
            "UPDATE contributions SET forgotten_at = ? WHERE id = ? AND state = 'confirmed'", values
        )
    outbox.revision += bool(values)


def refill(outbox: Outbox, due_at: float) -> int:
    """Confirmed to waiting, for all that the backend has forgotten; returns how many.

    Each is put back once for each time that it was forgotten.
    """
    done = outbox.connection.execute(
        "UPDATE contributions SET state = 'waiting', due_at = ?, settled_at = NULL,"
        " forgotten_at = NULL, refills = refills + 1"
        " WHERE forgotten_at IS NOT NULL AND state = 'confirmed' AND backend = ?",
        (due_at, outbox.backend),
    )
    outbox.revision += done.rowcount
    return done.rowcount
