"""Notifications for the time when the window isn't in front: pure functions of what changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.common.i18n import _, ngettext
from app.settings.settings import NewsKind
from app.state.state import ContributorState, Phase
from ui.texts import states as texts
from ui.texts import units

if TYPE_CHECKING:
    from app.contributions.ledger import LedgerTotals

HOURS = (1, 10, 100, 1_000, 10_000)
"""Milestones in hours of training, over all swarms: few, so that they don't annoy."""

SAMPLES = (10**6, 10**7, 10**8, 10**9)
"""Milestones in samples computed, over all swarms."""


@dataclass(frozen=True, kw_only=True)
class News:
    """A notification."""

    kind: NewsKind
    """The user can switch each kind off in the settings."""

    title: str
    text: str


def kinds() -> dict[NewsKind, str]:
    """The kinds of notifications, with their labels in the settings."""
    return {
        "training": _("Training began"),
        "paused": _("Training paused, and why"),
        "attention": _("Something needs my attention"),
        "milestones": _("Milestones"),
    }


def news(before: ContributorState, after: ContributorState) -> News | None:
    """The notification for a change of the state, or None."""
    if after.problem is not None and after.problem != before.problem:
        return _trouble(after)
    if after.commanded is not None and after.commanded != before.commanded:
        text = after.commanded.in_words
        return News(kind="attention", title=_("The lab commanded this machine"), text=text)
    if after.phase is Phase.TRAINING and before.phase is Phase.PREPARING:
        return News(kind="training", title=_("Training began"), text=texts.task_line(after))
    if after.phase is Phase.PAUSED and before.phase is not Phase.PAUSED:
        return News(kind="paused", title=_("Training paused"), text=texts.explanation(after))
    if after.completed and not before.completed:
        return News(kind="milestones", title=texts.headline(after), text=texts.explanation(after))
    return None


def _trouble(state: ContributorState) -> News | None:
    """The notification of a problem; None while the trainer restarts by itself."""
    if state.problem is None or state.restart_at is not None:
        return None
    text = f"{texts.problem_sentence(state.problem)} {state.problem.remedy}".rstrip()
    return News(kind="attention", title=_("CoTrain needs your attention"), text=text)


def milestone(before: "LedgerTotals", after: "LedgerTotals") -> News | None:
    """The notification of the greatest milestone between two totals, or None."""
    hours = _reached(HOURS, before.compute_time / 3600, after.compute_time / 3600)
    samples = _reached(SAMPLES, before.samples, after.samples)
    if hours is None and samples is None:
        return None
    if samples is not None:
        text = _("This machine has contributed {count} samples. Thank you.")
        text = text.format(count=units.count(samples))
    else:
        assert hours is not None
        text = ngettext(
            "This machine has contributed {count} hour of training. Thank you.",
            "This machine has contributed {count} hours of training. Thank you.",
            hours,
        ).format(count=units.count(hours))
    return News(kind="milestones", title=_("A milestone"), text=text)


def _reached(marks: Sequence[int], before: float, after: float) -> int | None:
    return max((mark for mark in marks if before < mark <= after), default=None)
