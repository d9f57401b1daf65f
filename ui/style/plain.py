"""Texts of others in Qt: plain, wherever Qt would guess that a text is HTML.

`ui.widgets.labels.label` does the same for labels, and `app.common.plain` bounds the texts.
"""

from html import escape
from typing import Protocol

from PySide6.QtGui import Qt
from PySide6.QtWidgets import QMessageBox, QWidget

from app.common.plain import one_line, several_lines

MOST_ON_A_CONTROL = 100
"""Characters."""


class HasToolTip(Protocol):
    """A widget, an action or the tray's icon."""

    def setToolTip(self, tip: str, /) -> None:
        """Set the text that a resting pointer shows."""


def set_tool_tip(place: HasToolTip, text: str) -> None:
    """Set a tool tip that is shown as it is written."""
    place.setToolTip(tip_text(text))


def tip_text(text: str) -> str:
    """The text as a tool tip. One that Qt would take for HTML is escaped."""
    plain = several_lines(text)
    if not Qt.mightBeRichText(plain):
        return plain
    return "<span>" + escape(plain).replace("\n", "<br>") + "</span>"


def control_text(text: str) -> str:
    """The text for a button, a check box or a menu, where a single ``&`` marks a shortcut.

    It is short, since such a control is as wide as its text.
    """
    return one_line(text, most=MOST_ON_A_CONTROL).replace("&", "&&")


def message_box(
    icon: QMessageBox.Icon, title: str, text: str, parent: QWidget | None = None
) -> QMessageBox:
    """A message box that shows a text as it is written."""
    box = QMessageBox(icon, title, "", parent=parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(several_lines(text))
    return box
