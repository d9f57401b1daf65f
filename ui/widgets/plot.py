"""A plot of two curves over the last minutes, hours or days, with a crosshair.

Time runs in seconds before now: the axis says *-5 min*, the crosshair the time of day.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QKeyEvent
from PySide6.QtWidgets import QSizePolicy
from typing_extensions import override

from app.i18n import _
from ui.theme import Theme
from ui.units import rate

Floats = NDArray[np.float64]

_MIN_SPAN = 60.0
_STEPS = (15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800)
_Y_TICKS = 4
LABEL_ROOM = 32
FINE_SCREEN = 1.5


@dataclass(frozen=True)
class Curve:
    """Times (seconds since the epoch) and values; NaN is a gap."""

    times: Floats = field(default_factory=lambda: np.empty(0))
    values: Floats = field(default_factory=lambda: np.empty(0))

    def at(self, moment: float, within: float) -> float:
        """The value nearest to a moment, NaN when there is none so near."""
        if not self.times.size:
            return math.nan
        nearest = int(np.abs(self.times - moment).argmin())
        near = abs(self.times[nearest] - moment) <= within
        return float(self.values[nearest]) if near else math.nan


@dataclass(frozen=True)
class Reading:
    """What the crosshair is on."""

    moment: float
    own: float
    swarm: float


class TimePlot(QObject):
    """Holds the `pyqtgraph.PlotWidget`. ``read`` carries a `Reading`, or None when the crosshair
    is gone."""

    read = Signal(object)

    def __init__(self, theme: Theme, *, name: str, from_zero: bool) -> None:
        super().__init__()
        self._theme = theme
        self._from_zero = from_zero
        self._own, self._swarm = Curve(), Curve()
        self._start, self._now = -_MIN_SPAN, 0.0
        self._cross: float | None = None
        self.widget: Any = pg.PlotWidget()
        self._item: Any = self.widget.getPlotItem()
        self._line: Any = pg.InfiniteLine(angle=90)
        self._set_up(name)
        # the swarm's first, so that ours lies above it
        self._swarm_line: Any = self._item.plot(connect="finite")
        self._own_line: Any = self._item.plot(connect="finite")
        self._item.addItem(self._line, ignoreBounds=True)
        self._line.hide()
        theme.changed.connect(self._recolor)
        self._recolor()

    def _set_up(self, name: str) -> None:
        widget, item = self.widget, self._item
        widget.setAccessibleName(name)
        widget.setAccessibleDescription(_("Left and right arrow keys move the crosshair."))
        widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.setMinimumHeight(140)
        # its own size hint is 640 × 480: here it takes what is left
        widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        widget.setFrameShape(widget.Shape.NoFrame)
        widget.installEventFilter(self)
        widget.scene().sigMouseMoved.connect(self._on_mouse)
        item.setMenuEnabled(False)
        item.setMouseEnabled(x=False, y=False)
        item.hideButtons()
        item.showGrid(x=False, y=True, alpha=1)  # the pen has the grid's faint colour
        # WORKAROUND: the item's own setting is overwritten when it is added to a plot
        item.setDownsampling(auto=True, mode="peak")
        item.setClipToView(True)
        item.layout.setContentsMargins(0, 8, 20, 0)
        item.getAxis("left").setZValue(-1)  # its grid lies under the curves
        item.getAxis("left").setWidth(44)
        item.getAxis("bottom").setHeight(24)

    def _recolor(self) -> None:
        colors = self._theme.colors
        self.widget.setBackground(colors.card)
        small = QFont(self.widget.font())
        small.setPointSizeF(small.pointSizeF() * 0.85)
        for side in ("left", "bottom"):
            axis = self._item.getAxis(side)
            axis.setPen(pg.mkPen(None))
            axis.setTickPen(pg.mkPen(colors.border))
            axis.setTextPen(colors.muted)
            axis.setTickFont(small)
            # the first and last label reach over the axis's ends, where there is room for them
            axis.setStyle(tickLength=0, tickTextOffset=8, hideOverlappingLabels=LABEL_ROOM)
        # Antialiasing a line wider than 1 is 15 to 200 times slower: so it is 1, or, where
        # pixels are too small to need antialiasing, 2 without.
        fine = self.widget.devicePixelRatioF() >= FINE_SCREEN
        for curve, color in ((self._own_line, colors.accent), (self._swarm_line, colors.swarm)):
            curve.opts["antialias"] = not fine
            curve.setPen(pg.mkPen(color, width=2 if fine else 1))
        self._line.setPen(pg.mkPen(QColor(colors.muted), width=1, style=Qt.PenStyle.DashLine))

    def draw(self, own: Curve, swarm: Curve, start: float, now: float) -> None:
        """Show the curves from ``start`` to ``now``, seconds since the epoch."""
        self._own, self._swarm, self._now = own, swarm, now
        self._start = min(start - now, -_MIN_SPAN)
        self._own_line.setData(own.times - now, own.values)
        self._swarm_line.setData(swarm.times - now, swarm.values)
        low, high, step = _y_range(own.values, swarm.values, from_zero=self._from_zero)
        self._item.setXRange(self._start, 0, padding=0)
        self._item.setYRange(low, high, padding=0.08)  # room for the outer ticks' labels
        self._item.getAxis("bottom").setTicks([_time_ticks(self._start)])
        self._item.getAxis("left").setTicks([_value_ticks(low, high, step)])
        self._tell()

    # --- crosshair

    @property
    def reading(self) -> bool:
        """The crosshair is there."""
        return self._cross is not None

    def _on_mouse(self, position: QPointF) -> None:
        box = self._item.getViewBox()
        inside = box.sceneBoundingRect().contains(position)
        self._move(float(box.mapSceneToView(position).x()) if inside else None)

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Leave, QEvent.Type.FocusOut):
            self._move(None)
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._on_key(event.key())
        return False

    def _on_key(self, key: int) -> bool:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(key))
        if step is None:
            return False
        at = self._cross if self._cross is not None else 0.0
        self._move(min(0.0, max(self._start, at - step * self._start / 100)))
        return True

    def _move(self, cross: float | None) -> None:
        if cross == self._cross:
            return
        self._cross = cross
        self._line.setVisible(cross is not None)
        if cross is not None:
            self._line.setPos(cross)
        self._tell()
        if cross is None:
            self.read.emit(None)

    def _tell(self) -> None:
        if self._cross is None:
            return
        moment = self._now + self._cross
        near = max(3.0, -self._start / 60)
        self.read.emit(Reading(moment, self._own.at(moment, near), self._swarm.at(moment, near)))


def _time_ticks(start: float) -> list[tuple[float, str]]:
    step = next((step for step in _STEPS if -start / step <= 4.5), _STEPS[-1])
    marks = range(step, round(-start) + 1, step)
    return [(0.0, _("now")), *((-float(mark), _ago(mark)) for mark in marks)]


def _ago(seconds: int) -> str:
    for length, text in ((86400, _("−{n} d")), (3600, _("−{n} h")), (60, _("−{n} min"))):
        if seconds >= length and seconds % (length // 2) == 0:
            return text.format(n=f"{seconds / length:g}")
    return _("−{n} s").format(n=seconds)


def _y_range(*values: Floats, from_zero: bool) -> tuple[float, float, float]:
    """Lowest, highest and step between ticks, round numbers all, that hold every value."""
    known = np.concatenate([some[np.isfinite(some)] for some in values])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low = 0.0 if from_zero else low
    step = _nice((high - low or abs(high) or 1.0) / _Y_TICKS)
    return math.floor(low / step) * step, math.ceil(high / step * 1.02) * step, step


def _nice(step: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= step * 0.999)


def _value_ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    marks = [low + index * step for index in range(round((high - low) / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    if step >= 1:
        return [(mark, f"{mark:,.0f}" if step % 1 == 0 else rate(mark)) for mark in marks]
    return [(mark, f"{mark:.{digits}f}") for mark in marks]
