"""The week as a grid to drag over: a row for each day, up to noon of the day after it."""

from PySide6.QtCore import QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.terms.schedule import DAYS, Schedule, Span
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts.terms import day_names

STEP = 30
"""Minutes of a cell."""

DAY = 24 * 60
END = 36 * 60
"""The last minute of a row: a night's span is drawn in one piece."""

CELLS = END // STEP
MARKED_HOURS = (0, 6, 12, 18, 24, 30)
_GAP, _HEAD = 8, 4

Cell = tuple[int, int]
"""A day from 0, Monday, and a cell of its row."""


class WeekGrid(QWidget):
    """Shows a schedule, and lets one drag over times of days; a click on a day's time clears it.

    For the mouse alone: the fields of each day, below it, serve the keyboard and screen readers.
    """

    dragged = Signal(object, object)
    """Days (a tuple of numbers), and the `Span` that they get; None clears them."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._schedule = Schedule()
        self._from: Cell | None = None
        self._to: Cell = (0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMaximumWidth(720)
        self.setCursor(Qt.CursorShape.CrossCursor)
        set_tool_tip(
            self, _("Drag over the times at which to train. A click on them clears a day.")
        )
        theme.changed.connect(self.update)

    def show_schedule(self, schedule: Schedule) -> None:
        """Show a schedule; an empty one, which means always, as no time at all."""
        self._schedule = schedule
        self.update()

    @property
    def _row_height(self) -> int:
        return self.fontMetrics().height() + 4

    @property
    def _left(self) -> int:
        return max(map(self.fontMetrics().horizontalAdvance, day_names())) + _GAP

    @property
    def _top(self) -> int:
        return self.fontMetrics().height() + _HEAD

    @override
    def sizeHint(self) -> QSize:
        return QSize(self._left + CELLS * 8, self._top + len(DAYS) * self._row_height + 1)

    @override
    def minimumSizeHint(self) -> QSize:
        return QSize(self._left + CELLS * 4, self.sizeHint().height())

    def _x(self, minutes: int) -> float:
        """Where a minute of a row is drawn."""
        return self._left + (self.width() - 1 - self._left) * minutes / END

    def cell_at(self, point: QPoint) -> Cell:
        """The cell nearest to a point, in pixels of the widget."""
        row = (point.y() - self._top) // self._row_height
        share = (point.x() - self._left) / max(1, self.width() - 1 - self._left)
        return min(max(row, 0), len(DAYS) - 1), min(max(int(share * CELLS), 0), CELLS - 1)

    # --- drawing

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colors = self._theme.colors
        for row, name in enumerate(day_names()):
            self._draw_row(painter, row, name)
        if self._from is not None:
            self._draw_drag(painter)
        painter.setPen(QColor(colors.muted))
        for hour in MARKED_HOURS:
            text = str(hour % 24) if hour != 24 else _("0 of the next day")
            painter.drawText(QPoint(int(self._x(hour * 60)), self._top - _HEAD), text)
        painter.end()

    def _draw_row(self, painter: QPainter, row: int, name: str) -> None:
        colors, top = self._theme.colors, self._top + row * self._row_height
        painter.setPen(QColor(colors.text))
        painter.drawText(QPoint(0, top + self.fontMetrics().ascent() + 2), name)
        whole = QRectF(self._x(0), top, self._x(DAY) - self._x(0), self._row_height - 1)
        painter.fillRect(whole, QColor(colors.track))
        span = self._schedule.days[row] if self._schedule.days else None
        if span is not None:
            painter.fillRect(self._bar(row, *_reach(span)), QColor(colors.accent))
        painter.setPen(QColor(colors.border))
        for hour in MARKED_HOURS:
            x = int(self._x(hour * 60))
            painter.drawLine(x, top, x, top + self._row_height - 2)

    def _draw_drag(self, painter: QPainter) -> None:
        days, span = self._chosen()
        color = QColor(self._theme.colors.accent_hover)
        for day in days:
            bar = self._bar(day, *_reach(span))
            painter.setPen(color)
            painter.drawRect(bar.adjusted(0, 0, -1, -1))
            faint = QColor(color)
            faint.setAlphaF(0.4)
            painter.fillRect(bar, faint)

    def _bar(self, row: int, begin: int, end: int) -> QRectF:
        top = self._top + row * self._row_height
        return QRectF(self._x(begin), top, self._x(end) - self._x(begin), self._row_height - 1)

    # --- dragging

    def _chosen(self) -> tuple[tuple[int, ...], Span]:
        """The days and the span between the first cell and the last one."""
        assert self._from is not None
        (day, cell), (other_day, other) = self._from, self._to
        days = range(min(day, other_day), max(day, other_day) + 1)
        begin, end = min(cell, other) * STEP, (max(cell, other) + 1) * STEP
        if begin >= DAY:  # all of it is on the next day
            days, begin, end = range(days.start + 1, days.stop + 1), begin - DAY, end - DAY
        end = min(end, begin + DAY)
        span = Span(begin, end if end <= DAY else end - DAY)
        return tuple(day % len(DAYS) for day in days), span

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self._from = self._to = self.cell_at(event.position().toPoint())
            self.update()

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._from is not None:
            self._to = self.cell_at(event.position().toPoint())
            self.update()

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._from is None or event.button() is not Qt.MouseButton.LeftButton:
            return
        days, span = self._chosen()
        day, cell = self._from
        clears = self._from == self._to and self._is_chosen(day, cell)
        self._from = None
        self.update()
        self.dragged.emit((day,) if clears else days, None if clears else span)

    def _is_chosen(self, day: int, cell: int) -> bool:
        span = self._schedule.days[day] if self._schedule.days else None
        if span is None:
            return False
        begin, end = _reach(span)
        return begin <= cell * STEP < end


def _reach(span: Span) -> tuple[int, int]:
    """Begin and end in minutes since its day's midnight, up to where a row ends."""
    return span.begin, min(END, span.begin + span.minutes)
