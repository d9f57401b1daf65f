"""Labels, and the small marks beside them."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget
from typing_extensions import override

from app.common.plain import one_line, several_lines
from ui.style.plain import set_tool_tip

MOST_WIDTH = 600
"""Pixels that a label takes at least, however long its text is."""


class PlainLabel(QLabel):
    """A label that shows any text as it is written, and no more of it than a reader can take in."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)  # never HTML: titles come from other peers
        self.setText(text)

    @override
    def setText(self, text: str) -> None:
        super().setText(several_lines(text))

    @override
    def minimumSizeHint(self) -> QSize:
        """Not the whole width of a very long word, or a text of others would widen the window."""
        wanted = super().minimumSizeHint()
        return QSize(min(wanted.width(), MOST_WIDTH), wanted.height())


def label(text: str = "", role: str = "", *, wrap: bool = False) -> QLabel:
    """A label; ``role`` is its property in the style sheet: ``title``, ``strong``, ``muted``, …"""
    made = PlainLabel(text)
    made.setProperty("role", role)
    made.setWordWrap(wrap)
    return made


def line() -> QFrame:
    """A thin line between rows."""
    made = QFrame()
    made.setProperty("line", "true")
    made.setFixedHeight(1)
    return made


def swatch(curve: str) -> QFrame:
    """The colour of a curve in a legend. curve: ``own`` or ``swarm``."""
    made = QFrame()
    made.setProperty("swatch", curve)
    made.setFixedSize(12, 3)
    return made


def restyle(widget: QWidget, name: str, value: str) -> None:
    """Set a property that the style sheet uses, and apply the style sheet to the widget again."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


class ElidedLabel(PlainLabel):
    """A label that shortens a long text with an ellipsis and shows it whole in the tool tip."""

    def __init__(self, text: str = "", role: str = "", *, right: bool = False) -> None:
        super().__init__()
        self._full = ""
        self.setProperty("role", role)
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        self.setAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_full(text)

    @property
    def full(self) -> str:
        """The whole text, even if it is elided."""
        return self._full

    def set_full(self, text: str) -> None:
        """Set the text, which is put on one line."""
        text = one_line(text)
        if text == self._full:
            return
        self._full = text
        self.setAccessibleName(text)
        self.updateGeometry()
        self._elide()

    @override
    def sizeHint(self) -> QSize:
        self.ensurePolished()
        # +2: a text's width is fractional, and rounding down must not elide it
        width = self.fontMetrics().horizontalAdvance(self._full) + 2
        return QSize(width, super().sizeHint().height())

    @override
    def minimumSizeHint(self) -> QSize:
        few = self.fontMetrics().averageCharWidth() * 6
        return QSize(min(few, self.sizeHint().width()), super().minimumSizeHint().height())

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        mode = Qt.TextElideMode.ElideRight
        shown = self.fontMetrics().elidedText(self._full, mode, max(0, self.width()))
        self.setText(shown)
        set_tool_tip(self, self._full if shown != self._full else "")
