"""Cards side by side, or, where there is no room for that, in fewer columns."""

from collections.abc import Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

GAP = 16


class CardRow(QWidget):
    """Cards, all as wide. least: characters that each wants room for, or else there are only so
    many columns."""

    def __init__(self, cards: Sequence[QWidget], *, least: int, columns: int) -> None:
        super().__init__()
        self._cards = cards
        self._least = least
        self._few = columns
        self._columns = 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange(len(cards))

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        self._columns = columns
        for place, card in enumerate(self._cards):
            self._grid.addWidget(card, place // columns, place % columns)
        for column in range(len(self._cards)):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        count = len(self._cards)
        least = self._least * self.fontMetrics().averageCharWidth()
        beside = count * least + (count - 1) * GAP
        self._arrange(count if event.size().width() >= beside else self._few)
