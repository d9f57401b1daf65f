"""What is seen in a plot of curves: its lines, dots and marks, as items of pyqtgraph."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor

from ui.style.series import series_colors
from ui.style.theme import Colors
from ui.widgets.charts.axes import Floats
from ui.widgets.charts.curves import Curve, Drawing, Mark
from ui.widgets.charts.smoothing import Smoothing
from ui.widgets.charts.x_axis import XAxis

FEW = 12
"""So few points are drawn as dots: a line between them is easily overlooked, and one point alone is
no line."""

FAINT = 90
"""Opacity, of 255, of what was measured, behind the smoothed line."""

_DOT = 5


@dataclass(frozen=True)
class PlacedCurve:
    """A curve's points on an axis."""

    x: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,), in the axis's unit, ascending."""

    values: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,), as measured; NaN is a gap."""

    line: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,), as drawn: smoothed, or the same."""

    @classmethod
    def of(cls, curve: Curve, axis: XAxis, smoothing: Smoothing = Smoothing.NONE) -> "PlacedCurve":
        """The points whose place on the axis is known."""
        x = axis.place(curve.times)
        known = np.isfinite(x)
        values = curve.values[known]
        return cls(x[known], values, smoothing.applied_to(values))

    def at(self, x: float, within: float) -> float:
        """What is drawn nearest to a place; NaN if nothing is so near."""
        if not self.x.size:
            return math.nan
        nearest = int(np.abs(self.x - x).argmin())
        near = abs(self.x[nearest] - x) <= within
        return float(self.line[nearest]) if near else math.nan

    def between(self, low: float, high: float) -> Floats:
        """The values in sight, and those of the line where it enters and leaves."""
        if not self.x.size:
            return self.values
        ends = np.interp((low, high), self.x, self.values, left=math.nan, right=math.nan)
        return np.append(self.values[(self.x >= low) & (self.x <= high)], ends)


@dataclass(frozen=True)
class PlacedCurves:
    """All curves of a drawing, on its axis."""

    own: PlacedCurve = field(default_factory=PlacedCurve)
    swarm: PlacedCurve = field(default_factory=PlacedCurve)
    own_unseen: PlacedCurve = field(default_factory=PlacedCurve)
    swarm_unseen: PlacedCurve = field(default_factory=PlacedCurve)
    beside: tuple[PlacedCurve, ...] = ()

    @property
    def all(self) -> tuple[PlacedCurve, ...]:
        """Every one."""
        return (self.own, self.swarm, self.own_unseen, self.swarm_unseen, *self.beside)

    @classmethod
    def of(cls, drawing: Drawing) -> "PlacedCurves":
        """Those of a drawing."""
        axis, smoothing = drawing.axis, drawing.smoothing
        return cls(
            PlacedCurve.of(drawing.own, axis, smoothing),
            PlacedCurve.of(drawing.swarm, axis, smoothing),
            PlacedCurve.of(drawing.unseen.own, axis),
            PlacedCurve.of(drawing.unseen.swarm, axis),
            tuple(PlacedCurve.of(each, axis, smoothing) for each in drawing.beside),
        )


class PlotLines:
    """The items of a `pyqtgraph.PlotItem`."""

    def __init__(self, item: Any) -> None:
        self._item = item
        self.beside: list[Any] = []
        """Made when they are needed first."""
        self._pens: list[Any] = []
        # the marks and what is faint first, then the swarm's line, so that ours is drawn above them
        self.rest_marks: Any = item.plot(connect="pairs")
        self.trouble_marks: Any = item.plot(connect="pairs")
        self.swarm_raw: Any = item.plot(connect="finite")
        self.own_raw: Any = item.plot(connect="finite")
        self.swarm: Any = item.plot(connect="finite")
        self.own: Any = item.plot(connect="finite")
        self.swarm_unseen: Any = item.plot(connect="finite")
        self.own_unseen: Any = item.plot(connect="finite")
        self.best: Any = pg.InfiniteLine(angle=0)
        self.crosshair: Any = pg.InfiniteLine(angle=90)
        self.selection: Any = pg.LinearRegionItem(movable=False)
        for each in (self.best, self.crosshair, self.selection):
            item.addItem(each, ignoreBounds=True)
            each.hide()
        self.own_unseen.setSymbol("o")  # one evaluation alone is no line yet

    def recolor(self, colors: Colors, *, fine: bool) -> None:
        """Give all items a theme's colours. fine: the screen's pixels are small."""
        # Antialiasing a line wider than 1 is 15 to 200 times slower: the width is 1 with
        # antialiasing, or 2 without on screens whose pixels are too small to need it.
        for curve, color, style, opacity in (
            (self.own, colors.accent, Qt.PenStyle.SolidLine, 255),
            (self.swarm, colors.swarm, Qt.PenStyle.SolidLine, 255),
            (self.own_raw, colors.accent, Qt.PenStyle.SolidLine, FAINT),
            (self.swarm_raw, colors.swarm, Qt.PenStyle.SolidLine, FAINT),
            (self.own_unseen, colors.accent, Qt.PenStyle.DashLine, 255),
            (self.swarm_unseen, colors.swarm, Qt.PenStyle.DashLine, 255),
        ):
            shade = QColor(color)
            shade.setAlpha(opacity)
            curve.opts["antialias"] = not fine
            curve.setPen(pg.mkPen(shade, width=2 if fine else 1, style=style))
            curve.setSymbolSize(_DOT)
            curve.setSymbolPen(None)
            curve.setSymbolBrush(shade)
        width = 2 if fine else 1
        self._pens = [pg.mkPen(color, width=width) for color in series_colors(colors)]
        self._fine = fine
        self._dress_beside()
        for marks, color in (
            (self.rest_marks, colors.muted),
            (self.trouble_marks, colors.caution),
        ):
            marks.opts["antialias"] = False
            marks.setPen(pg.mkPen(color, width=1, style=Qt.PenStyle.DotLine))
        self.best.setPen(pg.mkPen(colors.accent, width=1, style=Qt.PenStyle.DotLine))
        self.crosshair.setPen(pg.mkPen(QColor(colors.muted), width=1, style=Qt.PenStyle.DashLine))
        chosen = QColor(colors.focus)
        chosen.setAlpha(FAINT // 2)
        self.selection.setBrush(chosen)

    def show_curves(self, curves: PlacedCurves, origin: float, *, smoothed: bool) -> None:
        """Draw all curves; where they are smoothed, what was measured is faint behind them."""
        for raw, line, placed in (
            (self.own_raw, self.own, curves.own),
            (self.swarm_raw, self.swarm, curves.swarm),
        ):
            x = placed.x - origin
            line.setData(x, placed.line)
            raw.setVisible(smoothed)
            if smoothed:
                raw.setData(x, placed.values)
            line.setSymbol("o" if 0 < np.isfinite(placed.line).sum() <= FEW else None)
        for line, placed in (
            (self.own_unseen, curves.own_unseen),
            (self.swarm_unseen, curves.swarm_unseen),
        ):
            line.setData(placed.x - origin, placed.values)

    def _dress_beside(self) -> None:
        for line, pen in zip(self.beside, self._pens, strict=False):
            line.opts["antialias"] = not self._fine
            line.setPen(pen)
            line.setSymbolSize(_DOT)
            line.setSymbolPen(None)
            line.setSymbolBrush(pen.color())

    def show_beside(self, curves: Sequence[PlacedCurve], origin: float) -> None:
        """Draw the curves of others."""
        if len(self.beside) < len(curves):
            missing = len(curves) - len(self.beside)
            self.beside += [self._item.plot(connect="finite") for _each in range(missing)]
            self._dress_beside()
        for place, line in enumerate(self.beside):
            placed = curves[place] if place < len(curves) else PlacedCurve()
            line.setData(placed.x - origin, placed.line)
            line.setSymbol("o" if 0 < np.isfinite(placed.line).sum() <= FEW else None)

    def show_best(self, best: float | None) -> None:
        """A dotted line at the best value; None for none."""
        self.best.setVisible(best is not None)
        if best is not None:
            self.best.setPos(best)

    def show_marks(self, marks: Sequence[tuple[float, Mark]], *, bottom: float, top: float) -> None:
        """Dotted lines from the bottom to the top of what is in sight, each at its x."""
        for line, trouble in ((self.rest_marks, False), (self.trouble_marks, True)):
            xs = np.array([x for x, mark in marks if mark.trouble == trouble])
            line.setData(np.repeat(xs, 2), np.tile([bottom, top], xs.size))
