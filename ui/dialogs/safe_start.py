"""The question before the window, when the app didn't come up the last times."""

from PySide6.QtWidgets import QMessageBox

from app.common.i18n import _
from ui.texts import states as texts


def wants_default_settings() -> bool:
    """Ask whether to start without the user's settings."""
    box = make_question()
    box.exec()
    return box.clickedButton() is box.defaultButton()


def make_question() -> QMessageBox:
    """With the safe answer as the default one."""
    box = QMessageBox(QMessageBox.Icon.Question, texts.PRODUCT, "")
    box.setText(_("CoTrain Contributor didn't come up the last times that it was started."))
    box.setInformativeText(
        _(
            "Starting with default settings may help. Yours stay in their file, and hold again at"
            " the next start."
        )
    )
    safely = box.addButton(_("Start with default settings"), QMessageBox.ButtonRole.AcceptRole)
    box.addButton(_("Start as usual"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(safely)
    return box
