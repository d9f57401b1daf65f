"""The base class of dialogs."""

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget
from typing_extensions import override


def resize_on_screen(window: QWidget, width: int, height: int) -> None:
    """Resize a window whose content scrolls, to no more than its screen has room for."""
    room = window.screen().availableSize()
    window.resize(min(width, room.width()), min(height, room.height()))


class Dialog(QDialog):
    """A dialog with one column of widgets.

    It is high enough for its wrapped texts at its width, which `QDialog` doesn't ensure.
    """

    def __init__(self, window: QWidget, title: str, *, width: int) -> None:
        super().__init__(window)
        self.setWindowTitle(title)
        self.setMinimumWidth(width)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(16)

    def add_buttons(self, *buttons: QPushButton) -> None:
        """Add a row of buttons at the bottom, aligned to the right."""
        row = QHBoxLayout()
        row.addStretch()
        for each in buttons:
            row.addWidget(each)
        self.column.addLayout(row)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.fit()

    def fit(self) -> None:
        """Grow to the height that the content needs, as far as the screen has it. Call it again
        when the content has grown."""
        self.column.activate()
        width = max(self.width(), self.column.totalMinimumSize().width())
        height = max(self.height(), self.column.totalHeightForWidth(width))
        resize_on_screen(self, width, height)
