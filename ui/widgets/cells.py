"""Paints the cells of a `RowsModel`: text, a picture before it, or a curve as small as a word.

By its own hand, since Qt asks a model seven questions a cell and styles each by the style sheet:
that takes 30 ms for a screen of machines, and this a fifth of it.
"""

import math
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen, QPolygonF, QStaticText
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem
from typing_extensions import override

from ui.models.rows_model import Column, RowsModel
from ui.style.theme import Theme

PADDING = 11
PICTURE = 12
TEXTS = 4096

_SELECTED = QStyle.StateFlag.State_Selected.value


class CellDelegate(QStyledItemDelegate):
    """For every column of one model."""

    def __init__(self, model: RowsModel[Any], theme: Theme, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model
        self._theme = theme
        self._colors: dict[str, QColor] = {}
        self._laid_out: dict[tuple[str, int], tuple[QStaticText, int]] = {}
        theme.changed.connect(self._colors.clear)

    @override
    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        drawn: Any = option  # PySide's stubs leave its fields out
        column, row = self._model.columns[index.column()], self._model.shown[index.row()]
        if drawn.state.value & _SELECTED:
            painter.fillRect(drawn.rect, self._color("raised"))
        inside = drawn.rect.adjusted(PADDING, 0, -PADDING, 0)
        if column.figures is not None:
            self._draw_curve(painter, column.figures(row), QRectF(inside).adjusted(0, 8, 0, -8))
            return
        if column.picture is not None:
            place = QRect(inside.left(), inside.top(), PICTURE, inside.height())
            column.picture(row).paint(painter, place)
            inside.setLeft(inside.left() + PICTURE + 8)
        self._draw_text(painter, column, row, drawn.fontMetrics, inside)

    def _color(self, name: str) -> QColor:
        if name not in self._colors:
            self._colors[name] = QColor(getattr(self._theme.colors, name))
        return self._colors[name]

    def _draw_text(
        self,
        painter: QPainter,
        column: Column[Any],
        row: Any,
        metrics: QFontMetrics,
        inside: QRect,
    ) -> None:
        tone = column.tone(row) if column.tone is not None else ""
        painter.setPen(self._color(tone or "text"))
        words, width = self._laid_out_text(column.text(row), inside.width(), metrics)
        left = inside.left() + (inside.width() - width if column.right else 0)
        top = inside.top() + (inside.height() - metrics.height()) // 2
        painter.drawStaticText(left, top, words)

    def _laid_out_text(
        self, text: str, room: int, metrics: QFontMetrics
    ) -> tuple[QStaticText, int]:
        """As much of a text as fits, laid out, and its width; most are the same again and again."""
        if len(self._laid_out) > TEXTS:
            self._laid_out.clear()
        key = (text, room)
        if key not in self._laid_out:
            fitting = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)
            made = QStaticText(fitting)
            made.setTextFormat(Qt.TextFormat.PlainText)
            self._laid_out[key] = made, metrics.horizontalAdvance(fitting)
        return self._laid_out[key]

    def _draw_curve(self, painter: QPainter, values: Sequence[float], rect: QRectF) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self._color("accent"), 1))
        for line in lines(values, rect):
            painter.drawPolyline(line)
        painter.restore()


def lines(
    values: Sequence[float], rect: QRectF, *, bounds: tuple[float, float] | None = None
) -> list[QPolygonF]:
    """The lines that a curve is made of, one between two gaps (NaN), in a rectangle.

    bounds: the values at its bottom and top; as these values need, unless said.
    """
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return []
    low, high = bounds or _bounds(known)
    step = rect.width() / max(1, len(values) - 1)
    drawn: list[QPolygonF] = [QPolygonF()]
    for place, value in enumerate(values):
        if math.isnan(value):
            drawn.append(QPolygonF())
        else:
            height = rect.bottom() - (value - low) / (high - low) * rect.height()
            drawn[-1].append(QPointF(rect.left() + place * step, height))
    return [line for line in drawn if line.size() > 1]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    # a curve that hardly moves lies still, instead of showing its noise as large as a fall
    span = max(high - low, abs(high) * 0.2) or 1.0
    middle = (high + low) / 2
    return middle - span / 2, middle + span / 2
