"""Buttons: plain, as one choice of a row, as an icon, and safe against double clicks."""

from collections.abc import Sequence

from PySide6.QtCore import QSize
from PySide6.QtGui import QFont, QFontMetrics, QMouseEvent
from PySide6.QtWidgets import QPushButton, QToolButton
from typing_extensions import override

from ui.style.icons import ThemedIcon
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme

CHOICE_PADDING = 26
"""Pixels left and right of a choice button's text together, with its border."""


class _RoomyButton(QPushButton):
    """As wide as the widest of its texts, so that a change of the text moves nothing."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts[0])
        self._texts = texts

    @override
    def sizeHint(self) -> QSize:
        hint, metrics = super().sizeHint(), self.fontMetrics()
        widest = max(metrics.horizontalAdvance(each) for each in (*self._texts, self.text()))
        return hint + QSize(widest - metrics.horizontalAdvance(self.text()), 0)

    @override
    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()


def button(text: str = "", kind: str = "plain", *, later: Sequence[str] = ()) -> QPushButton:
    """A button.

    kind: its property in the style sheet, such as ``primary`` or ``quiet``. later: other texts that
    it will show, for which it has room from the start.
    """
    made = _RoomyButton(text, *later) if later else QPushButton(text)
    made.setProperty("kind", kind)
    return made


def choice_button(text: str) -> QPushButton:
    """A checkable button for a row in which one button is chosen.

    The style sheet makes the text of the chosen button bold. Qt's size hint doesn't know that, so
    the width is set here.
    """
    made = button(text, "choice")
    made.setCheckable(True)
    bold = made.font()
    bold.setWeight(QFont.Weight.DemiBold)
    made.setMinimumWidth(QFontMetrics(bold).horizontalAdvance(text) + CHOICE_PADDING)
    return made


def icon_button(icon: str, name: str, theme: Theme) -> QToolButton:
    """A button with only an icon; ``name`` is for the tool tip and for screen readers."""
    made = QToolButton()
    ThemedIcon(made, icon, theme)
    set_tool_tip(made, name)
    made.setAccessibleName(name)
    made.setFixedSize(32, 32)
    return made


def allow(control: QPushButton, *, why_not: str) -> None:
    """Enable a button, or say why it is disabled. why_not: "" to enable it."""
    control.setEnabled(not why_not)
    set_tool_tip(control, why_not)
    control.setAccessibleDescription(why_not)


class SteadyButton(QPushButton):
    """A button whose action changes with the state; it ignores the second click of a double click.

    Otherwise a double click on *Start* would also press the *Stop* that replaces it.
    """

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        event.accept()
