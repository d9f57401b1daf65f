"""A plot of two curves, or two pairs, over the last minutes, hours or days, with a crosshair.

The x axis is in seconds, with now at 0: its labels say *−5 min*, the crosshair the time of day.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor

from app.common.i18n import _
from ui.style.theme import Theme
from ui.widgets.charts import axes
from ui.widgets.charts.axes import Floats
from ui.widgets.charts.plot_cursor import PlotCursor

_MIN_SPAN = 60.0
_STEPS = (15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800)
FINE_SCREEN = 1.5
"""From this device pixel ratio on, lines need no antialiasing."""


@dataclass(frozen=True)
class Curve:
    """The points of a curve."""

    times: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,), in seconds since the epoch, ascending."""

    values: Floats = field(default_factory=lambda: np.empty(0))
    """Shape (n,); NaN is a gap."""

    def at(self, moment: float, within: float) -> float:
        """The value nearest to a moment; NaN if none is within so many seconds."""
        if not self.times.size:
            return math.nan
        nearest = int(np.abs(self.times - moment).argmin())
        near = abs(self.times[nearest] - moment) <= within
        return float(self.values[nearest]) if near else math.nan


@dataclass(frozen=True)
class Unseen:
    """What is drawn dashed beside the losses of training: those on text that nobody trains on."""

    own: Curve = field(default_factory=Curve)
    swarm: Curve = field(default_factory=Curve)

    best: float | None = None
    """The lowest of this machine's so far: a dotted line."""


@dataclass(frozen=True)
class Mark:
    """A moment that is marked on the time axis, since it explains the curve."""

    time: float
    """In seconds since the epoch."""

    words: str
    """What happened."""

    trouble: bool
    """In the colour of what went wrong."""


@dataclass(frozen=True)
class CurveReading:
    """The values at the crosshair."""

    moment: float
    """In seconds since the epoch."""

    own: float
    """This machine's value; NaN if there is none nearby."""

    swarm: float
    """The swarm's value; NaN if there is none nearby."""

    unseen: float = math.nan
    """The nearest loss on unseen text, this machine's or else the swarm's; NaN if there is none."""

    mark: str = ""
    """What happened at this moment; "" for nothing that is marked."""


class TimePlot(QObject):
    """The plot; its ``widget`` is a `pyqtgraph.PlotWidget` to put into a layout."""

    reading_changed = Signal(object)
    """Carries the `CurveReading` at the crosshair, or None when the crosshair is gone."""

    crosshair_moved = Signal(object)
    """Carries where the user put the crosshair, in seconds from now, or None where it is gone."""

    def __init__(self, theme: Theme, *, name: str, from_zero: bool) -> None:
        super().__init__()
        self._theme = theme
        self._from_zero = from_zero
        self._own, self._swarm, self._unseen = Curve(), Curve(), Unseen()
        self._marks: Sequence[Mark] = ()
        self._start, self._now = -_MIN_SPAN, 0.0
        self._cross: float | None = None
        self.widget: Any = pg.PlotWidget()
        self._item: Any = self.widget.getPlotItem()
        self._line: Any = pg.InfiniteLine(angle=90)
        self._set_up(name)
        # the marks and the swarm's line first, so that ours is drawn above them
        self._rest_marks: Any = self._item.plot(connect="pairs")
        self._trouble_marks: Any = self._item.plot(connect="pairs")
        self._swarm_line: Any = self._item.plot(connect="finite")
        self._own_line: Any = self._item.plot(connect="finite")
        self._swarm_unseen_line: Any = self._item.plot(connect="finite")
        self._own_unseen_line: Any = self._item.plot(connect="finite")
        self._best_line: Any = pg.InfiniteLine(angle=0)
        for line in (self._line, self._best_line):
            self._item.addItem(line, ignoreBounds=True)
            line.hide()
        theme.changed.connect(self._recolor)
        self._recolor()

    def _set_up(self, name: str) -> None:
        widget, item = self.widget, self._item
        axes.set_up(
            widget, name=name, description=_("Left and right arrow keys move the crosshair.")
        )
        self._cursor = PlotCursor(widget)
        self._cursor.moved.connect(self._move)
        self._cursor.stepped.connect(self._step)
        # WORKAROUND: pyqtgraph overwrites a curve's own setting when the curve is added to a plot
        item.setDownsampling(auto=True, mode="peak")
        item.setClipToView(True)

    def _recolor(self) -> None:
        colors = self._theme.colors
        axes.recolor(self.widget, colors)
        # Antialiasing a line wider than 1 is 15 to 200 times slower: the width is 1 with
        # antialiasing, or 2 without on screens whose pixels are too small to need it.
        fine = self.widget.devicePixelRatioF() >= FINE_SCREEN
        for curve, color, style in (
            (self._own_line, colors.accent, Qt.PenStyle.SolidLine),
            (self._swarm_line, colors.swarm, Qt.PenStyle.SolidLine),
            (self._own_unseen_line, colors.accent, Qt.PenStyle.DashLine),
            (self._swarm_unseen_line, colors.swarm, Qt.PenStyle.DashLine),
        ):
            curve.opts["antialias"] = not fine
            curve.setPen(pg.mkPen(color, width=2 if fine else 1, style=style))
        for marks, color in (
            (self._rest_marks, colors.muted),
            (self._trouble_marks, colors.caution),
        ):
            marks.opts["antialias"] = False
            marks.setPen(pg.mkPen(color, width=1, style=Qt.PenStyle.DotLine))
        self._own_unseen_line.setSymbol("o")  # one evaluation alone is no line yet
        self._own_unseen_line.setSymbolSize(5)
        self._own_unseen_line.setSymbolPen(None)
        self._own_unseen_line.setSymbolBrush(colors.accent)
        self._best_line.setPen(pg.mkPen(colors.accent, width=1, style=Qt.PenStyle.DotLine))
        self._line.setPen(pg.mkPen(QColor(colors.muted), width=1, style=Qt.PenStyle.DashLine))

    def draw(
        self,
        own: Curve,
        swarm: Curve,
        start: float,
        now: float,
        *,
        unseen: Unseen | None = None,
        marks: Sequence[Mark] = (),
    ) -> None:
        """Draw the curves from ``start`` to ``now``, in seconds since the epoch."""
        self._own, self._swarm, self._now, self._marks = own, swarm, now, marks
        self._unseen = unseen or Unseen()
        self._start = min(start - now, -_MIN_SPAN)
        self._own_line.setData(own.times - now, own.values)
        self._swarm_line.setData(swarm.times - now, swarm.values)
        beside = self._draw_unseen(now)
        self._item.setXRange(self._start, 0, padding=0)
        self._item.getAxis("bottom").setTicks([_time_ticks(self._start)])
        axes.show_values(self.widget, own.values, swarm.values, *beside, from_zero=self._from_zero)
        self._draw_marks(now)
        self._tell()

    def _draw_marks(self, now: float) -> None:
        """From the bottom to the top of what is in sight."""
        low, high = self._item.getViewBox().viewRange()[1]
        for line, trouble in ((self._rest_marks, False), (self._trouble_marks, True)):
            times = np.array([each.time - now for each in self._marks if each.trouble == trouble])
            times = times[times >= self._start]
            line.setData(np.repeat(times, 2), np.tile([low, high], times.size))

    def _draw_unseen(self, now: float) -> tuple[Floats, ...]:
        """Draw the losses on unseen text; returns the values that must be in sight."""
        own, swarm, best = self._unseen.own, self._unseen.swarm, self._unseen.best
        self._own_unseen_line.setData(own.times - now, own.values)
        self._swarm_unseen_line.setData(swarm.times - now, swarm.values)
        self._best_line.setVisible(best is not None)
        if best is None:
            return own.values, swarm.values
        self._best_line.setPos(best)
        return own.values, swarm.values, np.array([best])

    # --- crosshair

    @property
    def has_reading(self) -> bool:
        """Whether the crosshair is shown."""
        return self._cross is not None

    def _step(self, step: int) -> None:
        at = self._cross if self._cross is not None else 0.0
        self._move(min(0.0, max(self._start, at - step * self._start / 100)))

    def _move(self, cross: float | None) -> None:
        if cross != self._cross:
            self.put_crosshair(cross)
            self.crosshair_moved.emit(cross)

    def put_crosshair(self, cross: float | None) -> None:
        """Put it where another chart has it, in seconds from now; None hides it."""
        if cross == self._cross:
            return
        self._cross = cross
        self._line.setVisible(cross is not None)
        if cross is not None:
            self._line.setPos(cross)
        self._tell()
        if cross is None:
            self.reading_changed.emit(None)

    def _tell(self) -> None:
        if self._cross is None:
            return
        moment = self._now + self._cross
        near = max(3.0, -self._start / 60)
        unseen = (each.at(moment, math.inf) for each in (self._unseen.own, self._unseen.swarm))
        self.reading_changed.emit(
            CurveReading(
                moment,
                self._own.at(moment, near),
                self._swarm.at(moment, near),
                next((value for value in unseen if math.isfinite(value)), math.nan),
                self._mark_at(moment),
            )
        )

    def _mark_at(self, moment: float) -> str:
        near = [each for each in self._marks if abs(each.time - moment) <= -self._start / 100]
        near.sort(key=lambda each: abs(each.time - moment))
        return near[0].words if near else ""


def _time_ticks(start: float) -> list[tuple[float, str]]:
    step = next((step for step in _STEPS if -start / step <= 4.5), _STEPS[-1])
    marks = range(step, round(-start) + 1, step)
    return [(0.0, _("now")), *((-float(mark), _ago(mark)) for mark in marks)]


def _ago(seconds: int) -> str:
    for length, text in ((86400, _("−{n} d")), (3600, _("−{n} h")), (60, _("−{n} min"))):
        if seconds >= length and seconds % (length // 2) == 0:
            return text.format(n=f"{seconds / length:g}")
    return _("−{n} s").format(n=seconds)
