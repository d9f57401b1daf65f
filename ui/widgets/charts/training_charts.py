"""The charts of loss and throughput, over the same span of time."""

import time

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QBoxLayout, QButtonGroup, QHBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.state.history import History, Series
from app.state.store import ReadableStore
from app.timeline.timeline import TROUBLE, Happening, HappeningKind, Timeline
from ui.style.theme import Theme
from ui.texts import happenings, units
from ui.widgets.buttons import choice_button
from ui.widgets.charts.chart import Chart
from ui.widgets.charts.plot import Curve, Mark, Unseen
from ui.widgets.labels import label

REDRAW_MS = 500
"""The two charts are redrawn in turn: each once a second, the resolution of the history, and never
both at once. Hidden charts aren't drawn."""

MARKED = TROUBLE | {
    HappeningKind.STARTED,
    HappeningKind.PAUSED,
    HappeningKind.RESUMED,
    HappeningKind.STOPPED,
    HappeningKind.COMPLETED,
}
"""What explains a gap or a fall in a curve."""

ALL = 0.0
"""Stands for a span without limit."""


def _windows() -> tuple[tuple[float, str], ...]:
    return ((600.0, _("10 min")), (3600.0, _("1 h")), (86400.0, _("1 day")), (ALL, _("All")))


class TrainingCharts(QWidget):
    """Two charts, and buttons to choose the span of time that they show."""

    def __init__(
        self, history: History, theme: Theme, *, store: ReadableStore, timeline: Timeline
    ) -> None:
        """store: its state knows the best evaluation. timeline: has what is marked."""
        super().__init__()
        self._history = history
        self._store = store
        self._timeline = timeline
        self._window = _windows()[0][0]
        self.loss = Chart(
            theme, title=_("Loss"), unit=_("cross-entropy per token"), format_value=units.loss
        )
        self.throughput = Chart(
            theme,
            title=_("Throughput"),
            unit=_("samples/s"),
            format_value=units.rate,
            from_zero=True,
        )
        self.group = QButtonGroup(self)
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._timer = QTimer(self, interval=REDRAW_MS)
        self._timer.timeout.connect(self._redraw_next)
        self._loss_is_next = True
        for one, other in ((self.loss, self.throughput), (self.throughput, self.loss)):
            one.plot.crosshair_moved.connect(other.plot.put_crosshair)
        self._lay_out()

    def _lay_out(self) -> None:
        self._row.setSpacing(16)
        self._row.addWidget(self.loss, 1)
        self._row.addWidget(self.throughput, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._choices())
        column.addLayout(self._row, 1)

    def _choices(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addStretch()
        row.addWidget(label(_("Show the last"), "small"))
        for index, (_length, text) in enumerate(_windows()):
            one = choice_button(text)
            one.setChecked(index == 0)
            one.setAccessibleName(_("Show in the charts: {window}").format(window=text))
            self.group.addButton(one, index)
            row.addWidget(one, 0, Qt.AlignmentFlag.AlignVCenter)
        self.group.idClicked.connect(self._choose)
        return row

    def _choose(self, index: int) -> None:
        self._window = _windows()[index][0]
        self.redraw()

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        beside = self._row.spacing() + sum(
            chart.minimumSizeHint().width() for chart in (self.loss, self.throughput)
        )
        # ">", not ">=": the scroll area never makes us narrower than our minimum
        fits = event.size().width() > beside
        direction = QBoxLayout.Direction
        self._row.setDirection(direction.LeftToRight if fits else direction.TopToBottom)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.redraw()
        self._timer.start()

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def redraw(self) -> None:
        """Draw both charts from the history, unless they are hidden."""
        self._redraw(self.loss, self.throughput)

    def _redraw_next(self) -> None:
        self._redraw(self.loss if self._loss_is_next else self.throughput)
        self._loss_is_next = not self._loss_is_next

    def _redraw(self, *charts: Chart) -> None:
        if not self.isVisible() or self.window().isMinimized():
            return
        now = time.time()
        history = self._history
        losses = self._curves(history.loss, history.swarm_loss, now)
        rates = self._curves(history.samples_per_second, history.swarm_samples_per_second, now)
        start = _start((*losses, *rates), self._since(now), now)
        marks = [_mark(each) for each in self._timeline.since(start) if each.kind in MARKED]
        for chart in charts:
            if chart is self.loss:
                chart.draw(*losses, start, now, unseen=self._unseen(now), marks=marks)
            else:
                chart.draw(*rates, start, now, marks=marks)

    def _unseen(self, now: float) -> Unseen:
        history, best = self._history, self._store.state.best_evaluation
        own, swarm = self._curves(history.held_out_loss, history.swarm_held_out_loss, now)
        return Unseen(own=own, swarm=swarm, best=best.loss if best is not None else None)

    def _since(self, now: float) -> float:
        return now - self._window if self._window else 0.0

    def _curves(self, own: Series, swarm: Series, now: float) -> tuple[Curve, Curve]:
        return self._curve(own, now), self._curve(swarm, now)

    def _curve(self, series: Series, now: float) -> Curve:
        since = self._since(now)
        if self._window == ALL and series.first is not None:
            since = series.first  # gives a short series finer buckets
        times, values = series.since(since, now)
        return Curve(np.array(times, dtype=np.float64), np.array(values, dtype=np.float64))


def _mark(happening: Happening) -> Mark:
    words = happenings.titles()[happening.kind]
    return Mark(time=happening.time, words=words, trouble=happening.is_trouble)


def _start(curves: tuple[Curve, ...], since: float, now: float) -> float:
    """The charts' left end: the first point if the span isn't filled yet, else the span's begin."""
    first = min((float(curve.times[0]) for curve in curves if curve.times.size), default=now)
    filled = first - since < (now - since) / 50
    return since if filled else first
