"""A curve as small as a word, in a table's cell."""

import math
from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem
from typing_extensions import override

from ui.theme import Theme


class SparklineDelegate(QStyledItemDelegate):
    """Draws what the model says under `UserRole`: values from the oldest to now, NaN a gap."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        super().paint(painter, option, index)  # the ground, selected or not
        values: Sequence[float] = index.data(Qt.ItemDataRole.UserRole) or ()
        rect: QRectF = QRectF(option.rect).adjusted(8, 8, -8, -8)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self._theme.colors.accent), 1))
        for line in lines(values, rect):
            painter.drawPolyline(line)
        painter.restore()


def lines(values: Sequence[float], rect: QRectF) -> list[QPolygonF]:
    """The lines that a curve is made of, one between two gaps, in a rectangle."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return []
    low, high = min(known), max(known)
    step = rect.width() / max(1, len(values) - 1)
    # a curve that hardly moves lies still, instead of showing its noise as large as a fall
    span = max(high - low, abs(high) * 0.2) or 1.0
    middle = (high + low) / 2
    drawn: list[QPolygonF] = [QPolygonF()]
    for place, value in enumerate(values):
        if math.isnan(value):
            drawn.append(QPolygonF())
        else:
            height = rect.center().y() - (value - middle) / span * rect.height()
            drawn[-1].append(QPointF(rect.left() + place * step, height))
    return [line for line in drawn if line.size() > 1]
