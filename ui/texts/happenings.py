"""What happened, in words."""

from app.common.i18n import _
from app.timeline.timeline import Happening, HappeningKind


def words(happening: Happening) -> str:
    """A line: what happened and, if that is known, where or why."""
    title = titles()[happening.kind]
    if not happening.detail:
        return title
    return _("{title}: {detail}").format(title=title, detail=happening.detail)


def titles() -> dict[HappeningKind, str]:
    """What happened in a few words, by its kind."""
    return {
        HappeningKind.OPENED: _("The app was started"),
        HappeningKind.CLOSED: _("The app was closed"),
        HappeningKind.JOINED: _("In the swarm"),
        HappeningKind.JOIN_FAILED: _("The swarm can't be entered"),
        HappeningKind.LEFT: _("Left the swarm"),
        HappeningKind.LOST: _("Nobody in the swarm could be reached"),
        HappeningKind.FOUND: _("The swarm could be reached again"),
        HappeningKind.COMMANDED: _("The lab commanded"),
        HappeningKind.STARTED: _("Training began"),
        HappeningKind.STOPPED: _("Training was stopped"),
        HappeningKind.COMPLETED: _("The run reached its end"),
        HappeningKind.PAUSED: _("Training paused"),
        HappeningKind.RESUMED: _("Training went on"),
        HappeningKind.ROUND_FAILED: _("An averaging round failed"),
        HappeningKind.CRASHED: _("The trainer ended unexpectedly"),
    }
