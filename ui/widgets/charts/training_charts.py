"""The charts of loss and throughput, over the same span of time."""

import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PySide6.QtCore import QSignalBlocker, Qt, QTimer
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QBoxLayout, QButtonGroup, QHBoxLayout, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.i18n import _
from app.state.history import History, Series
from app.state.store import ReadableStore
from app.timeline.timeline import TROUBLE, Happening, HappeningKind, Timeline
from ui.models.chart_choices import ChartChoices
from ui.style.theme import Theme
from ui.texts import happenings, units
from ui.widgets.buttons import button, choice_button
from ui.widgets.charts.chart import Chart
from ui.widgets.charts.curves import Curve, Drawing, Mark, Unseen
from ui.widgets.charts.smoothing import Smoothing, smoothings
from ui.widgets.charts.x_axis import AxisKind, XAxis, axis_kinds
from ui.widgets.charts.zoom import Zoom
from ui.widgets.choice import Choice
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
    """Two charts, and controls to choose which span of time they show, along what, how smooth."""

    def __init__(
        self,
        history: History,
        theme: Theme,
        *,
        store: ReadableStore,
        timeline: Timeline,
        choices: ChartChoices,
    ) -> None:
        """store: its state knows the run and its best evaluation. timeline: has what is marked."""
        super().__init__()
        self._history = history
        self._store = store
        self._timeline = timeline
        self._shared = choices
        self._window = 0.0
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
        self.along, self.smoothing = Choice(), Choice()
        self.all = button(_("Show all"), "quiet")
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._timer = QTimer(self, interval=REDRAW_MS)
        self._timer.timeout.connect(self._redraw_next)
        self._loss_is_next = True
        self._place_of = (AxisKind.TIME, "")
        for one, other in ((self.loss, self.throughput), (self.throughput, self.loss)):
            one.plot.crosshair_moved.connect(other.plot.put_crosshair)
            one.plot.zoomed.connect(self._zoom)
        self._lay_out()
        self._follow()
        choices.changed.connect(self._follow)

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
        for choice, name, entries in (
            (self.along, _("What the charts run along"), axis_kinds()),
            (self.smoothing, _("Smoothing of the charts"), smoothings()),
        ):
            choice.setAccessibleName(name)
            for key, text in entries.items():
                choice.addItem(text, key)
            row.addWidget(choice)
            row.addSpacing(4)
        self.all.setAccessibleName(_("Show all of the charts again"))
        self.all.hide()
        row.addWidget(self.all)
        row.addStretch()
        row.addWidget(label(_("Show the last"), "small"))
        for index, (_length, text) in enumerate(_windows()):
            one = choice_button(text)
            one.setAccessibleName(_("Show in the charts: {window}").format(window=text))
            self.group.addButton(one, index)
            row.addWidget(one, 0, Qt.AlignmentFlag.AlignVCenter)
        self.group.idClicked.connect(self._choose)
        self.along.currentIndexChanged.connect(lambda _index: self._share())
        self.smoothing.currentIndexChanged.connect(lambda _index: self._share())
        self.all.clicked.connect(lambda _checked: self._zoom(None))
        return row

    def _choose(self, index: int) -> None:
        self._shared.choose(replace(self._shared.view, seconds=_windows()[index][0]))
        self._zoom(None)

    def _share(self) -> None:
        """Take what is chosen above these charts over to all others."""
        along, smoothing = str(self.along.currentData()), str(self.smoothing.currentData())
        self._shared.choose(replace(self._shared.view, along=along, smoothing=smoothing))

    def _follow(self) -> None:
        """Show what is chosen, here or above other charts."""
        view = self._shared.view
        for choice, key in ((self.along, view.along), (self.smoothing, view.smoothing)):
            with QSignalBlocker(choice):  # else the old other one would be shared
                choice.setCurrentIndex(max(0, choice.findData(key)))
        lengths = [length for length, _text in _windows()]
        index = lengths.index(view.seconds) if view.seconds in lengths else 0
        self.group.button(index).setChecked(True)
        if self._window != lengths[index]:
            self._window = lengths[index]
            self._zoom(None)
        self.redraw()

    def _zoom(self, zoom: Zoom | None) -> None:
        """Show the same section in both charts, as finely as it is known."""
        if zoom is None and self.all.hasFocus():
            self.loss.plot.widget.setFocus()  # the button is about to be gone
        self.all.setVisible(zoom is not None)
        for chart in (self.loss, self.throughput):
            chart.plot.put_zoom(zoom)
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
        axis, since, swarm = self._axis(now), self._since(now), self._store.state.swarm
        curves = {each: self._pair(each, now, since) for each in (self.loss, self.throughput)}
        start = _start((curve for pair in curves.values() for curve in pair), since, now)
        self._keep_place((axis.kind, swarm.run_id if swarm is not None else ""))
        if (zoom := self.loss.plot.zoom) is not None:
            shown = zoom.within(*axis.full(start))
            # what is beside it is known for the next move
            since = max(since, axis.time_of(2 * shown.low - shown.high))
            curves = {each: self._pair(each, now, since) for each in charts}
        for chart in charts:
            own, others = curves[chart]
            chart.draw(
                Drawing(
                    axis=axis,
                    start=start,
                    own=own,
                    swarm=others,
                    unseen=self._unseen(now, since) if chart is self.loss else Unseen(),
                    marks=[_mark(one) for one in self._timeline.since(start) if one.kind in MARKED],
                    smoothing=Smoothing(self.smoothing.currentData()),
                    run=swarm.title if swarm is not None else "",
                )
            )

    def _keep_place(self, of: tuple[AxisKind, str]) -> None:
        """A section and a crosshair's place mean nothing on another axis or in another run.

        of: the axis and the run's id.
        """
        if of == self._place_of:
            return
        self._place_of = of
        self.all.hide()
        for chart in (self.loss, self.throughput):
            chart.plot.put_crosshair(None)
            chart.plot.put_zoom(None)

    def _pair(self, chart: Chart, now: float, since: float) -> tuple[Curve, Curve]:
        """This machine's curve and the swarm's."""
        known = self._history
        if chart is self.loss:
            own, swarm = known.loss, known.swarm_loss
        else:
            own, swarm = known.samples_per_second, known.swarm_samples_per_second
        return _curve(own, now, since), _curve(swarm, now, since)

    def _axis(self, now: float) -> XAxis:
        """What the curves run along; where the run's progress isn't known, that is time."""
        seen = _curve(self._history.swarm_epoch, now, self._since(now))
        swarm = self._store.state.swarm
        is_known = bool(np.isfinite(seen.values).any()) and swarm is not None
        self.along.setEnabled(is_known)
        return XAxis(
            now=now,
            kind=AxisKind(self.along.currentData()) if is_known else AxisKind.TIME,
            times=seen.times,
            epochs=seen.values,
            batch=swarm.target_batch_size if swarm is not None else 1,
        )

    def _unseen(self, now: float, since: float) -> Unseen:
        history, best = self._history, self._store.state.best_evaluation
        return Unseen(
            own=_curve(history.held_out_loss, now, since),
            swarm=_curve(history.swarm_held_out_loss, now, since),
            best=best.loss if best is not None else None,
        )

    def _since(self, now: float) -> float:
        return now - self._window if self._window else 0.0


def _curve(series: Series, now: float, since: float) -> Curve:
    times, values = series.since(since, now)
    return Curve(np.array(times, dtype=np.float64), np.array(values, dtype=np.float64))


def _mark(happening: Happening) -> Mark:
    words = happenings.titles()[happening.kind]
    return Mark(time=happening.time, words=words, trouble=happening.is_trouble)


def _start(curves: Iterable[Curve], since: float, now: float) -> float:
    """The charts' left end: the first point if the span isn't filled yet, else the span's begin."""
    first = min((float(curve.times[0]) for curve in curves if curve.times.size), default=now)
    filled = first - since < (now - since) / 50
    return since if filled else first
