"""The question whether to start with default settings, after several failed starts."""

from PySide6.QtWidgets import QMessageBox

from app.common.i18n import _
from ui.style.plain import message_box
from ui.texts import states as texts


def wants_default_settings() -> bool:
    """Ask the user and wait for the answer; works before the event loop runs."""
    box = make_question()
    box.exec()
    return box.clickedButton() is box.defaultButton()


def make_question() -> QMessageBox:
    """The question; its default button starts with default settings."""
    box = message_box(
        QMessageBox.Icon.Question,
        texts.PRODUCT,
        _("CoTrain Contributor failed to start the last times."),
    )
    box.setInformativeText(
        _(
            "Starting with default settings may help. Your own settings stay"
            " in their file, and apply again at the next start."
        )
    )
    safely = box.addButton(_("Start with default settings"), QMessageBox.ButtonRole.AcceptRole)
    box.addButton(_("Start as usual"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(safely)
    return box
