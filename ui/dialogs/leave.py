"""The question whether to leave a swarm in which this machine trains."""

from collections.abc import Callable

from PySide6.QtWidgets import QMessageBox, QWidget

from app.common.i18n import _
from ui.style.plain import message_box
from ui.texts import states as texts


def make_question(window: QWidget, title: str, leave_swarm: Callable[[], None]) -> QMessageBox:
    """The question. title: of the swarm. leave_swarm: called if the user wants to."""
    box = message_box(
        QMessageBox.Icon.Question,
        texts.PRODUCT,
        _("Leave “{swarm}”?").format(swarm=title),
        parent=window,
    )
    box.setInformativeText(
        _(
            "Training stops, and begins from its newest checkpoint when you come back. Charts,"
            " checkpoints and contributions are kept; the swarm stays among the recent ones."
        )
    )
    leave = box.addButton(_("Leave"), QMessageBox.ButtonRole.AcceptRole)
    stay = box.addButton(_("Stay"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(leave)
    box.setEscapeButton(stay)
    box.accepted.connect(leave_swarm)
    return box
