"""The look that all plots share: faint horizontal lines, ticks at round numbers.

pyqtgraph's own zooming is off: it scrolls a chart where somebody scrolls the page.
"""

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QSizePolicy

from ui.style.theme import Colors
from ui.texts.units import rate

Floats = NDArray[np.float64]

LABEL_ROOM = 32
"""Pixels by which the first and last label of an axis may reach over its ends."""
_Y_TICKS = 4


class DirectAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Draws its labels on the screen itself.

    pyqtgraph's own plays a `QPicture` of them, whose fonts nobody else holds: now and then Qt drops
    them from its cache, and finding them anew took 30 to 40 ms.
    """

    def paint(self, painter: Any, _option: Any, _widget: Any) -> None:
        """As pyqtgraph's, without the picture between."""
        if (font := self.style["tickFont"]) is not None:
            painter.setFont(font)
        specs = self.generateDrawSpecs(painter)
        if specs is not None:
            self.drawPicture(painter, *specs)

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the page; pyqtgraph's own takes it even where nothing zooms."""
        event.ignore()


def new_plot() -> Any:
    """A `pyqtgraph.PlotWidget` with such axes."""
    return pg.PlotWidget(axisItems={side: DirectAxis(side) for side in ("left", "bottom")})


def set_up(widget: Any, *, name: str, description: str) -> None:
    """Give a new `pyqtgraph.PlotWidget` the shared look.

    Args:
        widget: the plot.
        name: for screen readers.
        description: for screen readers: how to use the plot by keyboard.
    """
    item = widget.getPlotItem()
    widget.setAccessibleName(name)
    widget.setAccessibleDescription(description)
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.setMinimumHeight(140)
    # its own size hint is 640 × 480: let it take the room that is left instead
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
    widget.setFrameShape(widget.Shape.NoFrame)
    item.setMenuEnabled(False)
    item.setMouseEnabled(x=False, y=False)
    item.hideButtons()
    item.showGrid(x=False, y=True, alpha=1)  # opaque: the pen's colour is faint already
    item.layout.setContentsMargins(0, 8, 20, 0)
    item.getAxis("left").setZValue(-1)  # draw the grid under the curves
    item.getAxis("left").setWidth(44)
    item.getAxis("bottom").setHeight(24)


def recolor(widget: Any, colors: Colors) -> None:
    """Give background and axes a theme's colours."""
    widget.setBackground(colors.card)
    small = QFont(widget.font())
    small.setPointSizeF(small.pointSizeF() * 0.85)
    for side in ("left", "bottom"):
        axis = widget.getPlotItem().getAxis(side)
        axis.setPen(pg.mkPen(None))
        axis.setTickPen(pg.mkPen(colors.border))
        axis.setTextPen(colors.muted)
        axis.setTickFont(small)
        # lets the first and last label reach over the axis's ends, where there is room
        axis.setStyle(tickLength=0, tickTextOffset=8, hideOverlappingLabels=LABEL_ROOM)


def show_values(widget: Any, *values: Floats, from_zero: bool) -> None:
    """Set the left axis to a range that holds all values, with ticks at round numbers."""
    low, high, step = value_range(*values, from_zero=from_zero)
    item = widget.getPlotItem()
    item.setYRange(low, high, padding=0.08)  # room for the outer ticks' labels
    item.getAxis("left").setTicks([value_ticks(low, high, step)])


def value_range(*values: Floats, from_zero: bool) -> tuple[float, float, float]:
    """The lowest tick, the highest tick and their step: round numbers that hold all values."""
    known = np.concatenate([some[np.isfinite(some)] for some in values])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low = 0.0 if from_zero else low
    span = high - low or abs(high) or 1.0
    step = nice_step(span / _Y_TICKS)
    return math.floor(low / step) * step, math.ceil((high + 0.02 * span) / step) * step, step


def nice_step(step: float) -> float:
    """The next step between ticks that is round: 1, 2 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step * 0.999)


def value_ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    """The ticks from ``low`` to ``high`` with labels, which have as many decimals as ``step``."""
    marks = [low + index * step for index in range(round((high - low) / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    if step >= 1:
        return [(mark, f"{mark:,.0f}" if step % 1 == 0 else rate(mark)) for mark in marks]
    return [(mark, f"{mark:.{digits}f}") for mark in marks]
