"""Buttons."""

from PySide6.QtGui import QFont, QFontMetrics, QMouseEvent
from PySide6.QtWidgets import QPushButton, QToolButton
from typing_extensions import override

from ui.style.icons import ThemedIcon
from ui.style.theme import Theme

CHOICE_PADDING = 26
"""Pixels left and right of a choice's word, with its border."""


def button(text: str = "", kind: str = "plain") -> QPushButton:
    """A button; ``kind`` is one of the style sheet's."""
    made = QPushButton(text)
    made.setProperty("kind", kind)
    return made


def choice_button(text: str) -> QPushButton:
    """One of a row of which one is chosen. Wide enough for its word in bold, which the style
    sheet makes it then, and which Qt doesn't expect."""
    made = button(text, "choice")
    made.setCheckable(True)
    bold = made.font()
    bold.setWeight(QFont.Weight.DemiBold)
    made.setMinimumWidth(QFontMetrics(bold).horizontalAdvance(text) + CHOICE_PADDING)
    return made


def icon_button(icon: str, name: str, theme: Theme) -> QToolButton:
    """A button that is only an icon; its name is for the tool tip and for screen readers."""
    made = QToolButton()
    ThemedIcon(made, icon, theme)
    made.setToolTip(name)
    made.setAccessibleName(name)
    made.setFixedSize(32, 32)
    return made


class SteadyButton(QPushButton):
    """A button whose word changes with the state.

    The second half of a double click must not hit the word that has come in between: *Start*
    would be followed by *Stop*.
    """

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        event.accept()
