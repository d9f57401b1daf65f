"""Cards side by side, or in fewer columns when the window is narrow."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget
from typing_extensions import override

GAP = 16


class CardRow(QWidget):
    """Cards of equal width; hidden ones take no room.

    Args:
        cards: from left to right.
        least: each card's minimum width, in average characters.
        columns: the number of columns when not all cards fit side by side.
    """

    def __init__(self, cards: Sequence[QWidget], *, least: int, columns: int) -> None:
        super().__init__()
        self._cards = tuple(cards)
        self._least = least
        self._few = columns
        self._arranged: tuple[tuple[QWidget, ...], int] = ((), 0)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._arrange(self._cards, len(cards))

    def _arrange(self, cards: tuple[QWidget, ...], columns: int) -> None:
        if (cards, columns) == self._arranged:
            return
        self._arranged = cards, columns
        for place, card in enumerate(cards):
            self._grid.addWidget(card, place // columns, place % columns)
        for column in range(len(self._cards)):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)

    def _fit(self) -> None:
        shown = tuple(card for card in self._cards if not card.isHidden())
        count = len(shown)
        if not count:
            return
        least = self._least * self.fontMetrics().averageCharWidth()
        beside = count * least + (count - 1) * GAP
        self._arrange(shown, count if self.width() >= beside else min(self._few, count))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    @override
    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:  # for instance when a card is hidden
            self._fit()
        return done
