"""Which actions the buttons of headline and tray offer in a state; decided nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass

from app.common.i18n import _
from app.state.state import ContributorState, Phase
from ui.models.actions import Actions

SNOOZE_SECONDS = 3600


def _nothing() -> None:
    """The action of a disabled button."""


@dataclass(frozen=True, kw_only=True)
class ButtonAction:
    """An action that a button or menu entry offers."""

    text: str
    """The button's text, translated."""

    run: Callable[[], None] = _nothing
    """Called when the button is clicked. Without it the button is disabled."""

    kind: str = "plain"
    """The button's ``kind`` property in the style sheet: ``primary``, ``danger`` or ``plain``."""

    @property
    def enabled(self) -> bool:
        """Whether the button can be clicked."""
        return self.run is not _nothing


def primary(state: ContributorState, actions: Actions) -> ButtonAction:
    """The action that the user most likely wants in this state."""
    match state.phase:
        case Phase.DISCONNECTED:
            return _join(actions)
        case Phase.JOINING:
            return ButtonAction(text=_("Joining…"), kind="primary")
        case Phase.WATCHING if state.completed or state.swarm is None:
            return _join(actions)
        case Phase.WATCHING:
            return ButtonAction(text=_("Start training"), run=actions.start, kind="primary")
        case Phase.WAITING:
            return ButtonAction(text=_("Don't start"), run=actions.stop)
        case Phase.STOPPING:
            return ButtonAction(text=_("Stopping…"), kind="danger")
        case Phase.FAILED if state.restart_at is not None:
            return ButtonAction(text=_("Restart now"), run=actions.start, kind="primary")
        case Phase.FAILED:
            return ButtonAction(text=_("Restart training"), run=actions.start, kind="primary")
        case _:
            return ButtonAction(text=_("Stop training"), run=actions.stop, kind="danger")


def secondary(state: ContributorState, actions: Actions) -> ButtonAction | None:
    """A second action for this state, or None."""
    match state.phase:
        case Phase.JOINING:
            return ButtonAction(text=_("Cancel"), run=actions.leave)
        case Phase.TRAINING | Phase.AVERAGING:
            return ButtonAction(text=_("Pause"), run=actions.pause)
        case Phase.PAUSED | Phase.WAITING if state.paused_by_user:
            return ButtonAction(text=_("Resume"), run=actions.resume)
        case Phase.FAILED if state.restart_at is not None:
            return ButtonAction(text=_("Don't restart"), run=actions.cancel_restart)
        case _:
            return None


def snooze(state: ContributorState, actions: Actions) -> ButtonAction | None:
    """What ends by itself after `SNOOZE_SECONDS`: a pause while training runs, and training while
    the terms forbid it, where they can be lifted; else None."""
    if state.phase in (Phase.TRAINING, Phase.AVERAGING):
        return ButtonAction(text=_("Pause for an hour"), run=lambda: actions.pause(SNOOZE_SECONDS))
    if state.phase in (Phase.PAUSED, Phase.WAITING) and state.verdict.may_be_lifted:
        return ButtonAction(
            text=_("Train anyway for an hour"), run=lambda: actions.train_anyway(SNOOZE_SECONDS)
        )
    return None


def secondary_in_menu(state: ContributorState, actions: Actions) -> ButtonAction | None:
    """The second action in the tray's menu, which offers the timed pause instead of *Pause*."""
    return snooze(state, actions) or secondary(state, actions)


def _join(actions: Actions) -> ButtonAction:
    return ButtonAction(
        text=_("Join a swarm…"), run=lambda: actions.join_wanted.emit(""), kind="primary"
    )
