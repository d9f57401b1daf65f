"""What our dialogs have in common."""

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget
from typing_extensions import override


class Dialog(QDialog):
    """A column, as high as its wrapped texts need at its width, which Qt doesn't see to."""

    def __init__(self, window: QWidget, title: str, *, width: int) -> None:
        super().__init__(window)
        self.setWindowTitle(title)
        self.setMinimumWidth(width)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(24, 20, 24, 20)
        self.column.setSpacing(16)

    def add_buttons(self, *buttons: QPushButton) -> None:
        """A row of buttons at the end."""
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
        """Be as high as what is shown needs, at least; again when that has become more."""
        self.column.activate()
        width = max(self.width(), self.column.totalMinimumSize().width())
        self.resize(width, max(self.height(), self.column.totalHeightForWidth(width)))
