"""Which button does what, by state: the one place where that is decided."""

from collections.abc import Callable
from dataclasses import dataclass

from app.common.i18n import _
from app.state.state import ContributorState, Phase
from ui.models.actions import Actions

SNOOZE_SECONDS = 3600


def _nothing() -> None:
    """What a disabled button does."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A button's word and deed. kind: as the style sheet names it."""

    word: str
    act: Callable[[], None] = _nothing
    kind: str = "plain"

    @property
    def enabled(self) -> bool:
        """There is something to do."""
        return self.act is not _nothing


def primary(state: ContributorState, actions: Actions) -> Choice:
    """What one most likely wants now."""
    match state.phase:
        case Phase.DISCONNECTED:
            return _join(actions)
        case Phase.JOINING:
            return Choice(word=_("Joining…"), kind="primary")
        case Phase.WATCHING if state.completed or state.swarm is None:
            return _join(actions)
        case Phase.WATCHING:
            return Choice(word=_("Start training"), act=actions.start, kind="primary")
        case Phase.WAITING:
            return Choice(word=_("Don't start"), act=actions.stop)
        case Phase.STOPPING:
            return Choice(word=_("Stopping…"), kind="danger")
        case Phase.FAILED if state.restart_at is not None:
            return Choice(word=_("Restart now"), act=actions.start, kind="primary")
        case Phase.FAILED:
            return Choice(word=_("Restart training"), act=actions.start, kind="primary")
        case _:
            return Choice(word=_("Stop training"), act=actions.stop, kind="danger")


def second(state: ContributorState, actions: Actions) -> Choice | None:
    """The other thing one may want now, if there is one."""
    match state.phase:
        case Phase.JOINING:
            return Choice(word=_("Cancel"), act=actions.leave)
        case Phase.TRAINING | Phase.AVERAGING:
            return Choice(word=_("Pause"), act=actions.pause)
        case Phase.PAUSED | Phase.WAITING if state.paused_by_user:
            return Choice(word=_("Resume"), act=actions.resume)
        case Phase.FAILED if state.restart_at is not None:
            return Choice(word=_("Don't restart"), act=actions.cancel_restart)
        case _:
            return None


def snooze(state: ContributorState, actions: Actions) -> Choice | None:
    """A pause that ends by itself."""
    if state.phase in (Phase.TRAINING, Phase.AVERAGING):
        return Choice(word=_("Pause for an hour"), act=lambda: actions.pause_for(SNOOZE_SECONDS))
    return None


def in_menu(state: ContributorState, actions: Actions) -> Choice | None:
    """The other thing, where one doesn't stay to resume."""
    return snooze(state, actions) or second(state, actions)


def _join(actions: Actions) -> Choice:
    return Choice(word=_("Join a swarm…"), act=lambda: actions.join_wanted.emit(""), kind="primary")
