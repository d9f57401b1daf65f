"""The base class of dialogs."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

SIDE = 24
"""Pixels left and right of a dialog's content."""


def resize_on_screen(window: QWidget, width: int, height: int) -> None:
    """Resize a window whose content scrolls, to no more than its screen has room for."""
    room = window.screen().availableSize()
    window.resize(min(width, room.width()), min(height, room.height()))


class Dialog(QDialog):
    """A dialog with one column of widgets, and the buttons of `add_buttons` below it.

    It is high enough for its wrapped texts at its width, which `QDialog` doesn't ensure.

    scrolls: where the screen is too small for that, the column scrolls; for a column none of whose
    widgets does.
    """

    def __init__(self, window: QWidget, title: str, *, width: int, scrolls: bool = False) -> None:
        super().__init__(window)
        self.setWindowTitle(title)
        self.setMinimumWidth(width)
        content = QWidget()
        content.setObjectName("page")
        self.column = QVBoxLayout(content)
        self.column.setContentsMargins(SIDE, 20, SIDE, 20)
        self.column.setSpacing(16)
        self._part = scrolling(content) if scrolls else content
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(0)
        self._rows.addWidget(self._part, 1)

    def add_buttons(self, *buttons: QPushButton) -> None:
        """Add a row of buttons at the bottom, aligned to the right."""
        row = QHBoxLayout()
        row.setContentsMargins(SIDE, 0, SIDE, 20)
        row.addStretch()
        for each in buttons:
            row.addWidget(each)
        self._rows.addLayout(row)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.fit()

    def fit(self) -> None:
        """Grow to the height that the content needs, as far as the screen has it. Call it again
        when the content has grown."""
        self.column.activate()
        least = self.column.totalMinimumSize().width()
        width = max(self.width(), least)
        # the last widgets, the buttons, stay in sight
        below = self._rows.totalSizeHint().height() - self._part.sizeHint().height()
        height = max(self.height(), self.column.totalHeightForWidth(width) + below)
        self._part.setMinimumWidth(least)
        resize_on_screen(self, width, height)


def scrolling(content: QWidget) -> QScrollArea:
    """Content that scrolls up and down where there is too little room."""
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it scrolls to the focused field by itself
    return area
