"""A plot of two curves, or two pairs, along time or the run's progress, with crosshair and zoom."""

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QObject, Signal

from app.common.i18n import _
from ui.style.theme import Theme
from ui.widgets.charts import axes
from ui.widgets.charts.curves import Curve, CurveReading, Drawing, Mark
from ui.widgets.charts.plot_cursor import PlotCursor
from ui.widgets.charts.plot_lines import PlacedCurves, PlotLines
from ui.widgets.charts.smoothing import Smoothing
from ui.widgets.charts.x_axis import AxisKind, XAxis
from ui.widgets.charts.zoom import Zoom, magnified, moved, section
from ui.widgets.charts.zoom_input import ZoomInput

FINE_SCREEN = 1.5
"""From this device pixel ratio on, lines need no antialiasing."""

_NEAR = 60
"""The crosshair reads values that are nearer than what is shown, divided by this."""


class TimePlot(QObject):
    """The plot; its ``widget`` is a `pyqtgraph.PlotWidget` to put into a layout."""

    reading_changed = Signal(object)
    """Carries the `CurveReading` at the crosshair, or None when the crosshair is gone."""

    crosshair_moved = Signal(object)
    """Carries where the user put the crosshair, in the plot's x, or None where it is gone."""

    zoomed = Signal(object)
    """Carries the `Zoom` that the user chose, or None for all."""

    def __init__(self, theme: Theme, *, name: str, from_zero: bool) -> None:
        super().__init__()
        self._theme = theme
        self._from_zero = from_zero
        self._drawing = Drawing(axis=XAxis(now=0.0), start=0.0, own=Curve())
        self._curves = PlacedCurves()
        self._marks: list[tuple[float, Mark]] = []
        self.zoom: Zoom | None = None
        """What the user chose; None for all."""
        self._cross: float | None = None
        self.widget: Any = axes.new_plot()
        self._item: Any = self.widget.getPlotItem()
        self._set_up(name)
        self.lines = PlotLines(self._item)
        theme.changed.connect(self._recolor)
        self._recolor()

    def _set_up(self, name: str) -> None:
        axes.set_up(self.widget, name=name, description=_how_to_use())
        self._cursor = PlotCursor(self.widget)
        self._cursor.moved.connect(self._move)
        self._cursor.stepped.connect(self._step)
        self._input = ZoomInput(self.widget)  # after the cursor: it sees the keys first
        self._input.magnified.connect(self._magnify)
        self._input.moved.connect(lambda by: self._choose(moved(self.shown, self.full, by)))
        self._input.selecting.connect(self._show_selection)
        self._input.selected.connect(self._select)
        self._input.reset.connect(lambda: self._choose(None))
        self._input.focused.connect(self._frame)
        # WORKAROUND: pyqtgraph overwrites a curve's own setting when the curve is added to a plot
        self._item.setDownsampling(auto=True, mode="peak")
        self._item.setClipToView(True)

    def _recolor(self) -> None:
        axes.recolor(self.widget, self._theme.colors)
        fine = self.widget.devicePixelRatioF() >= FINE_SCREEN
        self.lines.recolor(self._theme.colors, fine=fine)
        self._frame(self.widget.hasFocus())

    def _frame(self, focused: bool) -> None:
        """Show that keys and wheel are for this plot."""
        pen = pg.mkPen(self._theme.colors.focus, width=2) if focused else None
        self._item.getViewBox().setBorder(pen)

    # --- drawing

    def draw(self, drawing: Drawing) -> None:
        """Draw the curves: all of the axis, or the section that the user chose."""
        self._drawing, self._curves = drawing, PlacedCurves.of(drawing)
        axis = drawing.axis
        places = axis.place(np.array([mark.time for mark in drawing.marks])) - axis.origin
        self._marks = [
            (x, mark)
            for x, mark in zip(places.tolist(), drawing.marks, strict=True)
            if math.isfinite(x)
        ]
        smoothed = drawing.smoothing is not Smoothing.NONE
        self.lines.show_curves(self._curves, axis.origin, smoothed=smoothed)
        self.lines.show_beside(self._curves.beside, axis.origin)
        self.lines.show_best(drawing.unseen.best)
        self._show()

    def _show(self) -> None:
        """Set both axes to what is to be seen of the curves."""
        axis, shown, best = self._drawing.axis, self.shown, self._drawing.unseen.best
        low, high = shown.low - axis.origin, shown.high - axis.origin
        self._item.setXRange(low, high, padding=0)
        self._item.getAxis("bottom").setTicks([axis.ticks(shown.low, shown.high)])
        values = [each.between(shown.low, shown.high) for each in self._curves.all]
        if best is not None and self.zoom is None:
            values.append(np.array([best]))
        axes.show_values(self.widget, *values, from_zero=self._from_zero)
        bottom, top = self._item.getViewBox().viewRange()[1]
        visible = [(x, mark) for x, mark in self._marks if low <= x <= high]
        self.lines.show_marks(visible, bottom=bottom, top=top)
        self._tell()

    # --- zoom

    @property
    def full(self) -> Zoom:
        """All of the axis."""
        return Zoom(*self._drawing.axis.full(self._drawing.start), follows=True)

    @property
    def shown(self) -> Zoom:
        """The section of the axis that is shown."""
        full = self.full
        return full if self.zoom is None else self.zoom.within(full.low, full.high)

    def put_zoom(self, zoom: Zoom | None) -> None:
        """Show what another chart shows; None for all."""
        if zoom != self.zoom:
            self.zoom = zoom
            self._show()

    def _choose(self, zoom: Zoom | None) -> None:
        if zoom != self.zoom:
            self.put_zoom(zoom)
            told = "" if zoom is None else _ends(self._drawing.axis, self.shown)
            self.widget.setAccessibleDescription(f"{told} {_how_to_use()}".strip())
            self.zoomed.emit(zoom)

    def _magnify(self, by: float, x: float | None) -> None:
        around = self._cross if x is None else x
        place = None if around is None else around + self._drawing.axis.origin
        self._choose(magnified(self.shown, self.full, by, place))

    def _show_selection(self, low: float, high: float) -> None:
        self.lines.selection.setRegion((low, high))
        self.lines.selection.show()

    def _select(self, low: float, high: float) -> None:
        self.lines.selection.hide()
        origin = self._drawing.axis.origin
        if high > low:
            self._choose(section(low + origin, high + origin, self.full))

    # --- crosshair

    @property
    def has_reading(self) -> bool:
        """Whether the crosshair is shown."""
        return self._cross is not None

    def _step(self, step: int) -> None:
        """By a key: where the crosshair leaves what is shown, that goes with it."""
        origin, shown, full = self._drawing.axis.origin, self.shown, self.full
        width = shown.high - shown.low
        at = shown.high if self._cross is None else self._cross + origin
        to = min(full.high, max(full.low, at + step * width / 100))
        if not shown.low <= to <= shown.high:
            self._choose(moved(shown, full, step / 4))
        self._move(to - origin)

    def _move(self, cross: float | None) -> None:
        if cross != self._cross:
            self.put_crosshair(cross)
            self.crosshair_moved.emit(cross)

    def put_crosshair(self, cross: float | None) -> None:
        """Put it where another chart has it, in the plot's x; None hides it."""
        if cross == self._cross:
            return
        self._cross = cross
        self.lines.crosshair.setVisible(cross is not None)
        if cross is not None:
            self.lines.crosshair.setPos(cross)
        self._tell()
        if cross is None:
            self.reading_changed.emit(None)

    def _tell(self) -> None:
        if self._cross is None:
            return
        axis, shown, curves = self._drawing.axis, self.shown, self._curves
        x, width = self._cross + axis.origin, shown.high - shown.low
        least = 3.0 if axis.kind is AxisKind.TIME else 0.0  # reports may come seconds apart
        near = max(least, width / _NEAR)
        unseen = (each.at(x, math.inf) for each in (curves.own_unseen, curves.swarm_unseen))
        self.reading_changed.emit(
            CurveReading(
                x,
                axis.words(x),
                curves.own.at(x, near),
                curves.swarm.at(x, near),
                next((value for value in unseen if math.isfinite(value)), math.nan),
                self._mark_at(self._cross, width / 100),
                tuple(each.at(x, near) for each in curves.beside),
            )
        )

    def _mark_at(self, x: float, within: float) -> str:
        near = [(abs(at - x), mark.words) for at, mark in self._marks if abs(at - x) <= within]
        return min(near, default=(0.0, ""))[1]


def _ends(axis: XAxis, shown: Zoom) -> str:
    """Which section is shown, for screen readers."""
    return _("From {low} to {high}.").format(low=axis.words(shown.low), high=axis.words(shown.high))


def _how_to_use() -> str:
    return _(
        "Left and right arrow keys move the crosshair; with Shift they move what is shown."
        " + and − zoom, Home shows all."
    )
