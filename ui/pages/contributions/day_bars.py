"""A bar chart with a bar for each day, to be read with the pointer or the arrow keys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QObject, Signal

from app.common.i18n import _
from ui.style.theme import Theme
from ui.widgets.charts import axes
from ui.widgets.charts.axes import Floats
from ui.widgets.charts.plot_cursor import PlotCursor

WIDTH = 0.7
"""Width of a bar, where a day is 1."""

TICK_DAYS = 7
"""Days between two labels of the x axis."""


class DayBars(QObject):
    """The bars; their ``widget`` is a `pyqtgraph.PlotWidget` to put into a layout."""

    reading_changed = Signal(object)
    """Carries the index of the day under the pointer or chosen by key, or None."""

    def __init__(self, theme: Theme, *, name: str) -> None:
        super().__init__()
        self._theme = theme
        self._values: Floats = np.empty(0)
        self._chosen: int | None = None
        self.widget: Any = axes.new_plot()
        self._item: Any = self.widget.getPlotItem()
        axes.set_up(
            self.widget, name=name, description=_("Left and right arrow keys choose a day.")
        )
        self._cursor = PlotCursor(self.widget)
        self._cursor.moved.connect(self._point)
        self._cursor.stepped.connect(self._step)
        self._bars: Any = pg.BarGraphItem(x=[], height=[], width=WIDTH)
        self._item.addItem(self._bars)
        theme.changed.connect(self._recolor)
        self._recolor()

    def draw(self, days: Sequence[str], values: Floats) -> None:
        """Draw a bar for each day.

        Args:
            days: dates in ISO 8601, ascending; the last one is today.
            values: shape (len(days),).
        """
        self._values = values
        count = len(values)
        places = np.arange(count, dtype=np.float64)
        self._bars.setOpts(x=places, height=values)
        self._item.setXRange(-0.5, max(1, count) - 0.5, padding=0)
        self._item.getAxis("bottom").setTicks([_day_ticks(days)])
        axes.show_values(self.widget, values, from_zero=True)
        self._color_bars()
        if self._chosen is not None:
            self.reading_changed.emit(self._chosen)

    def _recolor(self) -> None:
        axes.recolor(self.widget, self._theme.colors)
        self._color_bars()

    def _color_bars(self) -> None:
        colors = self._theme.colors
        brushes = [pg.mkBrush(colors.accent) for _value in self._values]
        if self._chosen is not None and self._chosen < len(brushes):
            brushes[self._chosen] = pg.mkBrush(colors.text)
        self._bars.setOpts(brushes=brushes, pen=pg.mkPen(None))

    # --- the chosen day

    @property
    def chosen(self) -> int | None:
        """The index of the day under the pointer or chosen by key, or None."""
        return self._chosen

    def _point(self, x: float | None) -> None:
        self._choose(None if x is None else round(x))

    def _step(self, step: int) -> None:
        self._choose(self._last if self._chosen is None else self._chosen + step)

    @property
    def _last(self) -> int:
        return len(self._values) - 1

    def _choose(self, place: int | None) -> None:
        if place is not None:
            place = min(max(place, 0), self._last) if self._last >= 0 else None
        if place == self._chosen:
            return
        self._chosen = place
        self._color_bars()
        self.reading_changed.emit(place)


def _day_ticks(days: Sequence[str]) -> list[tuple[float, str]]:
    """Labels for today and for each week before it, as month and day: ``05-17``."""
    last = len(days) - 1
    marks = range(last - TICK_DAYS, -1, -TICK_DAYS)
    return [(float(last), _("today")), *((float(mark), days[mark][5:]) for mark in marks)]
