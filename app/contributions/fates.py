"""What became of the contributions to each swarm: where they are reported, or why they are not."""

from dataclasses import dataclass

from app.common.i18n import _, ngettext
from app.contributions.accounting import LEAST_REPORTED
from app.contributions.outbox import Outbox, OutboxState
from app.state.facts import ReportingState
from app.state.state import ContributorState


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


def fate_here(state: ContributorState) -> SwarmFate | None:
    """What becomes of contributions to the swarm that we are in; None outside of one."""
    swarm, reporting = state.swarm, state.reporting
    if swarm is None:
        return None
    kept = dict(reporting.kept).get((swarm.run_id, swarm.session_id), "")
    return SwarmFate(
        session_id=swarm.session_id,
        training_id=swarm.training_id,
        backend=reporting.backend_url,
        state=OutboxState.LOCAL if kept else OutboxState.WAITING,
        remark=kept,
    )


def unreported(state: ContributorState) -> str:
    """Why contributions to the swarm that we are in aren't reported, and what to do; "" if they
    are, or outside of a swarm."""
    fate = fate_here(state)
    if fate is None or is_reported(fate, state.reporting):
        return ""
    return explained(fate, state.reporting)


def is_reported(fate: SwarmFate, reporting: ReportingState) -> bool:
    """Whether contributions to a swarm are being reported to the current backend."""
    kept = fate.session_id is None or fate.state in (OutboxState.LOCAL, OutboxState.REFUSED)
    here = fate.backend == reporting.backend_url
    return bool(reporting.signed_in_as) and here and not kept


def explained(fate: SwarmFate, reporting: ReportingState) -> str:
    """Whether contributions to a swarm are reported, to whom, and else why not and what to do."""
    if fate.session_id is None:
        return no_session(fate.training_id)
    if fate.state is OutboxState.LOCAL:
        text = _("Contributions to this swarm are kept here: {reason}.")
        return text.format(reason=fate.remark)
    if fate.backend != reporting.backend_url and fate.state is OutboxState.CONFIRMED:
        text = _(
            "Contributions to this swarm were reported to {url}, which is no longer the backend's"
            " address in the settings."
        )
        return text.format(url=fate.backend)
    if fate.backend != reporting.backend_url:
        text = _(
            "Contributions to this swarm are for {url}, and wait until that is the backend's"
            " address in the settings again."
        )
        return text.format(url=fate.backend)
    if fate.state is OutboxState.REFUSED:
        text = _("{url} has refused a contribution to this swarm: {reason}")
        return text.format(url=fate.backend, reason=fate.remark)
    if not reporting.signed_in_as:
        text = _("Contributions to this swarm are reported to {url} once you sign in.")
        return text.format(url=fate.backend)
    text = _("Contributions to this swarm are reported to {url} as {email}.")
    return text.format(url=fate.backend, email=reporting.signed_in_as)


def no_session(training_id: str | None) -> str:
    """Why contributions to a swarm without a session's number are not reported, and what to do.

    training_id: the backend's uuid of the run, None if it is not from the backend's list.
    """
    if training_id is not None:
        return _(
            "Contributions to this swarm are kept here: its session at the backend has no number."
            " Its organiser must put a session_id into the session's configuration; then join it"
            " again from the backend's list."
        )
    return _(
        "Contributions to this swarm are kept here: its invite names no session of a CoTrain"
        " backend. If the backend offers this swarm, join it from the backend's list."
    )


def forgotten_text(count: int) -> str:
    """That the backend no longer knows confirmed contributions, and how many; "" for none."""
    if not count:
        return ""
    return ngettext(
        "The backend no longer knows {count} contribution that it had confirmed.",
        "The backend no longer knows {count} contributions that it had confirmed.",
        count,
    ).format(count=f"{count:,}")
