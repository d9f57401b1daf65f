"""Labels, and the small things that stand beside them."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget
from typing_extensions import override


def label(text: str = "", role: str = "", *, wrap: bool = False) -> QLabel:
    """A label; ``role`` is one of the style sheet's (``title``, ``strong``, ``muted``)."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)  # titles come from swarms: never as HTML
    made.setProperty("role", role)
    made.setWordWrap(wrap)
    return made


def line() -> QFrame:
    """A hairline between rows."""
    made = QFrame()
    made.setProperty("line", "true")
    made.setFixedHeight(1)
    return made


def swatch(curve: str) -> QFrame:
    """The colour of a curve in a legend: ``own`` or ``swarm``."""
    made = QFrame()
    made.setProperty("swatch", curve)
    made.setFixedSize(12, 3)
    return made


def restyle(widget: QWidget, name: str, value: str) -> None:
    """Set a property that the style sheet looks at; Qt looks only when it is told to."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


class ElidedLabel(QLabel):
    """A label that gives way: what doesn't fit ends in an ellipsis and stands in the tool tip."""

    def __init__(self, text: str = "", role: str = "", *, right: bool = False) -> None:
        super().__init__()
        self._full = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", role)
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        self.setAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_full(text)

    @property
    def full(self) -> str:
        """The whole text."""
        return self._full

    def set_full(self, text: str) -> None:
        """Show a text, as much of it as fits."""
        if text == self._full:
            return
        self._full = text
        self.setAccessibleName(text)
        self.updateGeometry()
        self._elide()

    @override
    def sizeHint(self) -> QSize:
        self.ensurePolished()
        # +2: the width that text needs is a fraction, and rounding must not elide it
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
        self.setToolTip(self._full if shown != self._full else "")
