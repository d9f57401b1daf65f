"""Contributions, and their reports to the backend, in words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.common.i18n import _, ngettext
from app.common.plain import one_line
from app.contributions.fates import (
    SwarmFate,
    explained,
    fate_here,
    forgotten_text,
    is_reported,
)
from app.contributions.ledger import LedgerTotals
from app.contributions.outbox import OutboxState
from app.contributions.summary import Summary
from app.curves.loss_change import LossChange
from app.state.facts import ReportingState, ReportingStatus
from app.state.state import ContributorState
from ui.texts import units
from ui.texts.given import energy as energy_texts
from ui.texts.given.energy import MEASURED_ONLY, EnergyRules

if TYPE_CHECKING:
    from app.backend.replies import ProjectedReward


def share(totals: LedgerTotals) -> str:
    """This machine's part of all samples in the rounds that it took part in, as a percentage."""
    return units.NONE if totals.share is None else units.percent(totals.share, 1)


def total_labels() -> dict[str, str]:
    """The labels of the totals, by their names."""
    return {
        "time": _("Compute time"),
        "samples": _("Samples"),
        "share": _("Share of the swarm"),
        "sent": _("Sent"),
        "energy": _("Energy"),
        "cost": _("Energy cost"),
        "score": _("Score (estimate)"),
    }


def total_values(totals: LedgerTotals, rules: EnergyRules = MEASURED_ONLY) -> dict[str, str]:
    """The totals as text, by the names of `total_labels`. rules: of what the energy costs, and of
    what is estimated."""
    return {
        "time": units.duration(totals.compute_time),
        "samples": units.count(totals.samples),
        "share": share(totals),
        "sent": units.size(totals.bytes_sent),
        "energy": energy_texts.used(totals, rules),
        "cost": energy_texts.spent(totals, rules),
        "score": units.count(totals.score),
    }


def score_note() -> str:
    """How score and share are computed."""
    return _(
        "The score is an estimate, calculated as the backend does for"
        " each report: 0.40 × seconds computed + 0.35 × quality + 0.15 ×"
        " KB sent + 0.10 × uptime. The share is this machine's part of"
        " all samples in the rounds that it took part in. Demos don't count."
    )


# --- what was achieved in a run

_LEAST = 1e-4
"""The smallest part of a run that is said with a figure."""


def achieved(run_share: float | None, loss: LossChange | None, *, title: str = "") -> str:
    """This machine's part of the run, and what became of the loss; "" where neither is known.

    title: the run's, where it isn't clear which one it is.
    """
    told = []
    if run_share:
        told.append(_("You did {part} of this run.").format(part=part_of_run(run_share)))
    if loss is not None:
        text = (
            _("The loss on unseen text while you were there: {change}.")
            if loss.unseen
            else _("The training loss while you were there: {change}.")
        )
        told.append(text.format(change=from_to(loss)))
    text = " ".join(told)
    return (
        _("{title}: {detail}").format(title=one_line(title), detail=text)
        if title and text
        else text
    )


def part_of_run(share: float) -> str:
    """A part of a run, 0 to 1, with two digits: ``7.3 %``."""
    if share < _LEAST:
        return _("less than {part}").format(part=part_of_run(_LEAST))
    number = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
    return _("{number}\u00a0%").format(number=number)


def from_to(loss: LossChange) -> str:
    """The loss before and after: ``4.13 → 3.21``."""
    return _("{before} → {after}").format(before=f"{loss.before:.2f}", after=f"{loss.after:.2f}")


# --- the epoch under way


def epoch_share(state: ContributorState) -> str:
    """This machine's part of the epoch under way, as a sentence; "" if there is no epoch."""
    own, run = state.training, state.run
    if own is None or run is None or not run.samples:
        return ""
    part = units.percent(min(own.epoch_samples, run.samples), run.samples)
    return _("This machine did {part} of epoch {epoch} so far.").format(
        part=part, epoch=units.count(run.epoch)
    )


# --- reports


def status(reporting: ReportingState) -> str:
    """The state of reporting, in a few words."""
    return {
        ReportingStatus.OFF: _("Nobody is signed in"),
        ReportingStatus.ON: _("Reporting"),
        ReportingStatus.WAITING: _("Waiting"),
        ReportingStatus.FAILING: _("Not getting through"),
    }[reporting.status]


TONES: Mapping[ReportingStatus, str] = {
    ReportingStatus.OFF: "idle",
    ReportingStatus.ON: "good",
    ReportingStatus.WAITING: "busy",
    ReportingStatus.FAILING: "bad",
}
"""The ``tone`` of the dot beside the status in the style sheet."""


def explanation(state: ContributorState, summary: Summary | None) -> str:
    """Why reports are sent or not, and what comes next."""
    reporting, here = state.reporting, fate_here(state)
    match reporting.status:
        case ReportingStatus.OFF:
            return _off(summary)
        case ReportingStatus.ON if here is not None and not is_reported(here, reporting):
            return fate(here, reporting)
        case ReportingStatus.ON:
            return _on(reporting)
        case _:
            parts = [
                _sentence(reporting.reason),
                reporting.remedy,
                _("Waiting contributions are kept on this machine and will be sent."),
                _next_try(reporting),
            ]
            return " ".join(part for part in parts if part)


def _on(reporting: ReportingState) -> str:
    ways = {"http": "HTTP", "socket.io": "Socket.IO"}
    if reporting.way not in ways:
        return _("Each contribution is reported as soon as it is complete.")
    text = _("Each contribution is reported as soon as it is complete, the last one over {way}.")
    return text.format(way=ways[reporting.way])


def _off(summary: Summary | None) -> str:
    if summary is not None and summary.on_their_way:
        return _("Waiting contributions are kept on this machine, and sent once you sign in.")
    return _("Contributions to swarms of the CoTrain backend are sent there once you sign in.")


def _next_try(reporting: ReportingState) -> str:
    if reporting.next_try is None:
        return ""
    return _("Next try at {time}.").format(time=units.clock(reporting.next_try))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def not_reported(summary: Summary) -> str:
    """How many contributions are not reported, a line for each reason; "" if none."""
    lines = []
    for reason, count in summary.refusals.items():
        head = ngettext("{count} refused: {reason}", "{count} refused: {reason}", count)
        lines.append(head.format(count=units.count(count), reason=reason))
    for reason, count in summary.kept.items():
        head = ngettext("{count} kept here: {reason}.", "{count} kept here: {reason}.", count)
        lines.append(head.format(count=units.count(count), reason=reason))
    for url, count in summary.elsewhere.items():
        head = ngettext(
            "{count} waits for another backend: {url}.",
            "{count} wait for another backend: {url}.",
            count,
        )
        lines.append(head.format(count=units.count(count), url=url))
    return "\n".join(lines)


# --- what becomes of the contributions to a swarm


def reported_to(fate: SwarmFate, reporting: ReportingState) -> str:
    """The host that contributions to a swarm are reported to, or a few words on why not."""
    host = urlsplit(fate.backend).netloc
    if fate.session_id is None or fate.state is OutboxState.LOCAL:
        return _("Not reported")
    if fate.backend != reporting.backend_url:
        reported = fate.state is OutboxState.CONFIRMED
        return host if reported else _("Waits for {host}").format(host=host)
    if fate.state is OutboxState.REFUSED:
        return _("Refused")
    return host if reporting.signed_in_as else _("After sign-in")


def fate(fate: SwarmFate, reporting: ReportingState) -> str:
    """As `app.contributions.fates.explained`, with the button to press."""
    text, retry = explained(fate, reporting), ""
    if fate.session_id is not None and fate.state is OutboxState.LOCAL:
        retry = _("Then press Retry now.")
    elif fate.backend == reporting.backend_url and fate.state is OutboxState.REFUSED:
        retry = _("Retry now tries again.")
    return f"{text} {retry}".rstrip()


def forgotten(summary: Summary, refill: str) -> str:
    """How many confirmed contributions the backend no longer knows, and what is done about it.

    "" if there is none. refill: the setting.
    """
    if not summary.forgotten:
        return ""
    then = {
        "ask": _("Report again sends each of them once more."),
        "always": _("They are reported again, some every few minutes."),
        "never": _("They are not reported again, as the settings say."),
    }
    return f"{forgotten_text(summary.forgotten)} {then[refill]}"


def reward(projected: "ProjectedReward") -> str:
    """This machine's projected part of a session's reward, and its place among the machines."""
    return _("{part}\u00a0% (place {place})").format(
        part=units.rate(float(projected.total_projected)), place=projected.ranking
    )
