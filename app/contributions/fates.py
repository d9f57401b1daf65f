"""What became of the contributions to each swarm: where they are reported, or why they are not."""

from dataclasses import dataclass

from app.contributions.accounting import LEAST_REPORTED
from app.contributions.outbox import Outbox, OutboxState


@dataclass(frozen=True, kw_only=True)
class SwarmFate:
    """What became of the newest contribution to a swarm."""

    session_id: int | None
    """As in `Contribution`."""

    training_id: str | None
    """As in `Contribution`."""

    backend: str
    """URL of the backend that it is for."""

    state: OutboxState

    remark: str
    """Why it was refused or is kept here, if it is."""


def fates_of(outbox: Outbox) -> dict[str, SwarmFate]:
    """By run id."""
    found = outbox.connection.execute(
        "SELECT run_id, session_id, training_id, ifnull(backend, ?) AS backend, state, remark"
        " FROM contributions WHERE number IN (SELECT max(number) FROM contributions"
        " WHERE state != 'open' AND compute_time >= ? GROUP BY run_id)",
        (outbox.backend, LEAST_REPORTED),
    )
    return {
        row["run_id"]: SwarmFate(
            session_id=row["session_id"],
            training_id=row["training_id"],
            backend=row["backend"],
            state=OutboxState(row["state"]),
            remark=row["remark"],
        )
        for row in found
    }
