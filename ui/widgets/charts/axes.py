"""What our plots have in common: nothing to drag, faint lines across, axes of round numbers."""

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
_Y_TICKS = 4


def set_up(widget: Any, *, name: str, description: str) -> None:
    """Make a new `pyqtgraph.PlotWidget` one of ours. description: how it works by keyboard."""
    item = widget.getPlotItem()
    widget.setAccessibleName(name)
    widget.setAccessibleDescription(description)
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.setMinimumHeight(140)
    # its own size hint is 640 × 480: here it takes what is left
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
    widget.setFrameShape(widget.Shape.NoFrame)
    item.setMenuEnabled(False)
    item.setMouseEnabled(x=False, y=False)
    item.hideButtons()
    item.showGrid(x=False, y=True, alpha=1)  # the pen has the grid's faint colour
    item.layout.setContentsMargins(0, 8, 20, 0)
    item.getAxis("left").setZValue(-1)  # its grid lies under the curves
    item.getAxis("left").setWidth(44)
    item.getAxis("bottom").setHeight(24)


def recolor(widget: Any, colors: Colors) -> None:
    """Show ground and axes in a theme's colours."""
    widget.setBackground(colors.card)
    small = QFont(widget.font())
    small.setPointSizeF(small.pointSizeF() * 0.85)
    for side in ("left", "bottom"):
        axis = widget.getPlotItem().getAxis(side)
        axis.setPen(pg.mkPen(None))
        axis.setTickPen(pg.mkPen(colors.border))
        axis.setTextPen(colors.muted)
        axis.setTickFont(small)
        # the first and last label reach over the axis's ends, where there is room for them
        axis.setStyle(tickLength=0, tickTextOffset=8, hideOverlappingLabels=LABEL_ROOM)


def show_values(widget: Any, *values: Floats, from_zero: bool) -> None:
    """Let the left axis hold every value, with ticks at round numbers."""
    low, high, step = value_range(*values, from_zero=from_zero)
    item = widget.getPlotItem()
    item.setYRange(low, high, padding=0.08)  # room for the outer ticks' labels
    item.getAxis("left").setTicks([value_ticks(low, high, step)])


def value_range(*values: Floats, from_zero: bool) -> tuple[float, float, float]:
    """Lowest, highest and step between ticks, round numbers all, that hold every value."""
    known = np.concatenate([some[np.isfinite(some)] for some in values])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low = 0.0 if from_zero else low
    span = high - low or abs(high) or 1.0
    step = _nice(span / _Y_TICKS)
    return math.floor(low / step) * step, math.ceil((high + 0.02 * span) / step) * step, step


def _nice(step: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step * 0.999)


def value_ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    """A tick at each step, as exact as the steps are."""
    marks = [low + index * step for index in range(round((high - low) / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    if step >= 1:
        return [(mark, f"{mark:,.0f}" if step % 1 == 0 else rate(mark)) for mark in marks]
    return [(mark, f"{mark:.{digits}f}") for mark in marks]
