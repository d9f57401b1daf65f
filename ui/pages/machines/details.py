"""One machine in detail, or several beside each other: a plot of a figure over an hour to 90 days,
and of one machine its record."""

import math
import time
from collections.abc import Sequence

import numpy as np
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from app.archive.keeper import SAVE_SECONDS
from app.common.i18n import _
from app.swarm.fleet import DAY, HOUR, METRICS, Machine
from ui.models.session_model import SessionModel
from ui.pages.machines.legend import CurvesLegend
from ui.style.series import COUNT
from ui.style.theme import Theme
from ui.texts import fleet as fleet_texts
from ui.texts import units
from ui.widgets.buttons import icon_button
from ui.widgets.card import Card
from ui.widgets.charts.chart import table_of
from ui.widgets.charts.copy_menu import CopyMenu
from ui.widgets.charts.curves import Curve, CurveReading, Drawing
from ui.widgets.charts.plot import TimePlot
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.charts.x_axis import XAxis
from ui.widgets.choice import Choice
from ui.widgets.labels import ElidedLabel, label

POINTS = 336
"""Of a plot of the archive's figures."""

MOST = 1 + COUNT
"""Machines in one plot: as many as there are colours."""

_Chosen = tuple[tuple[str, ...], str, float]
"""Keys of machines, a figure, and seconds."""

_NOTHING: _Chosen = ((), "", 0.0)


def _metrics() -> tuple[tuple[str, str], ...]:
    return (
        ("samples_per_second", _("Samples/s")),
        ("loss", _("Loss")),
        ("temperature", _("Temperature, °C")),
        ("power", _("Power, W")),
        ("gpu_use", _("GPU use, 0 to 1")),
        ("cpu_use", _("CPU use, 0 to 1")),
    )


class MachineDetails(Card):
    """A card with the facts and the plot of the selected machine, or the plots of several.

    The page connects ``close_button``, which clears the selection.
    """

    def __init__(self, model: SessionModel, theme: Theme) -> None:
        super().__init__(_("The chosen machines"))
        self._model = model
        self._fleet = model.session.machines.fleet
        self._asked = _NOTHING
        self._asked_at = -math.inf
        self._keys: tuple[str, ...] = ()
        self.name = ElidedLabel(role="strong")
        self.reading = label(role="small")
        self.figure, self.span = _choice(_("Figure shown"), _metrics()), _windows()
        self.close_button = icon_button("close", _("Close the details"), theme)
        self.plot = TimePlot(theme, name=_("The chosen machine over time"), from_zero=False)
        self._drawing = Drawing(axis=XAxis(now=0.0), start=0.0, own=Curve())
        self.menu = CopyMenu(self, theme, values=self._table)
        self._values: dict[str, ElidedLabel] = {}
        self._record, self.legend = self._facts(), CurvesLegend(theme)
        self._lay_out()
        self.figure.currentIndexChanged.connect(self.draw)
        self.span.currentIndexChanged.connect(self._draw_all)
        self.plot.reading_changed.connect(self._show_reading)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.name, 1)
        for part in (self.reading, self.figure, self.span, self.menu.button, self.close_button):
            head.addWidget(part)
        body = QHBoxLayout()
        body.setSpacing(24)
        body.addWidget(self._record, 2)
        body.addWidget(self.legend, 2)
        body.addWidget(self.plot.widget, 3)
        self.column.setContentsMargins(16, 8, 8, 8)
        self.column.addLayout(head)
        self.column.addLayout(body, 1)

    def _facts(self) -> QWidget:
        made = QWidget()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for row, (name, title) in enumerate(_rows().items()):
            value = ElidedLabel()
            grid.addWidget(label(title, "muted"), row, 0)
            grid.addWidget(value, row, 1)
            self._values[name] = value
        column = QVBoxLayout(made)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(grid)
        column.addStretch()
        return made

    def show_machines(self, machines: Sequence[Machine], own_key: str) -> None:
        """Show a machine's newest record and its plot, or the plots of several together.

        machines: one at least; no more than `MOST` are drawn. own_key: of the machine that the app
        runs on.
        """
        drawn = machines[:MOST]
        keys = tuple(each.public_key for each in drawn)
        if keys != self._keys:
            self.plot.put_zoom(None)
        self._keys = keys
        names = [fleet_texts.machine_name(each, own=each.public_key == own_key) for each in drawn]
        several = len(machines) > 1
        self.name.set_full(_title(len(machines)) if several else names[0])
        self._record.setHidden(several)
        self.legend.setVisible(several)
        if several:
            self.legend.show_names(names)
        else:
            for name, text in _facts(drawn[0], time.time()).items():
                self._values[name].set_full(text)
        self.draw()

    def value(self, name: str) -> str:
        """A row's whole value, even if it is elided."""
        return self._values[name].full

    def _draw_all(self) -> None:
        self.plot.put_zoom(None)
        self.draw()

    def draw(self) -> None:
        """Draw the chosen figure over the chosen span of time, if the card is visible."""
        if not self.isVisible():
            return
        now, seconds = time.time(), self.span.currentData()
        metric = self.figure.currentData()
        if seconds > DAY:
            self._ask((self._keys, metric, seconds), now)
            return
        self._asked = _NOTHING
        tracks = (self._fleet.track(key, metric, seconds=seconds, now=now) for key in self._keys)
        self._plot([Curve(np.array(times), np.array(values)) for times, values in tracks], seconds)

    def _ask(self, chosen: _Chosen, now: float) -> None:
        """Draw a time of which the archive alone knows: at once, and anew every minute."""
        if chosen != self._asked or now - self._asked_at >= SAVE_SECONDS:
            self._asked, self._asked_at = chosen, now
            self._model.run(self._load(chosen))

    async def _load(self, chosen: _Chosen) -> None:
        keys, metric, seconds = chosen
        archive, column = self._model.session.archive, METRICS.index(metric) + 1
        curves = []
        for key in keys:
            rows = await archive.curve(key, seconds=seconds, step=seconds / POINTS)
            figures = np.array([(row[0], row[column]) for row in rows]).reshape(-1, 2)
            curves.append(Curve(figures[:, 0], figures[:, 1]))
        if chosen == self._asked:
            self._plot(curves, seconds)

    def _plot(self, curves: Sequence[Curve], seconds: float) -> None:
        now = time.time()
        known = [each.times[np.isfinite(each.values)] for each in curves]
        starts = [float(each[0]) for each in known if each.size]
        own, *others = curves
        self._drawing = Drawing(
            axis=XAxis(now=now),
            start=min(starts, default=now - seconds),
            own=own,
            beside=others,
        )
        if not self.plot.has_reading:
            self.reading.setText("" if starts else _("no values yet"))
            self.legend.show_values([_newest(each) for each in curves])
        self.plot.draw(self._drawing)

    def _table(self) -> ValueTable:
        """What is drawn, for pictures and files."""
        about = {
            "chart": self.name.full,
            "x_axis": self._drawing.axis.title(),
            "y_axis": self.figure.currentText(),
        }
        drawn = (self._drawing.own, *self._drawing.beside)
        named = dict(zip(self._columns(), drawn, strict=True))
        return table_of(named, axis=self._drawing.axis, about=about)

    def _columns(self) -> list[str]:
        """Names of the curves in a file; those of machines may be the same."""
        if len(self._keys) == 1:
            return [self.figure.currentData()]
        names = [each.full for each in self.legend.names[: len(self._keys)]]
        return [
            f"{name} {key[:8]}" if names.count(name) > 1 else name
            for name, key in zip(names, self._keys, strict=True)
        ]

    def _show_reading(self, reading: CurveReading | None) -> None:
        if reading is None:
            self.reading.setText("")
            drawn = (self._drawing.own, *self._drawing.beside)
            self.legend.show_values([_newest(each) for each in drawn])
            return
        values = [units.rate(_known(each)) for each in (reading.own, *reading.beside)]
        self.legend.show_values(values)
        alone = len(values) == 1
        self.reading.setText(f"{reading.where}  {values[0]}" if alone else reading.where)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _newest(curve: Curve) -> str:
    known = curve.values[np.isfinite(curve.values)]
    return units.rate(float(known[-1]) if known.size else None)


def _title(count: int) -> str:
    if count > MOST:
        text = _("The first {shown} of {count} machines")
        return text.format(shown=units.count(MOST), count=units.count(count))
    return _("{count} machines").format(count=units.count(count))


def _choice(name: str, entries: tuple[tuple[object, str], ...]) -> Choice:
    made = Choice()
    made.setAccessibleName(name)
    for key, text in entries:
        made.addItem(text, key)
    return made


def _windows() -> Choice:
    entries = (
        (HOUR, _("1 h")),
        (DAY, _("1 day")),
        (7 * DAY, _("1 week")),
        (90 * DAY, _("90 days")),
    )
    return _choice(_("Time shown"), entries)


def _rows() -> dict[str, str]:
    return {
        "seen": _("Last seen"),
        "epoch": _("Epoch"),
        "gpu": _("GPU memory"),
        "cpu": _("CPU, memory"),
        "given": _("Given so far"),
        "line": _("Computing, sent"),
        "mishaps": _("Crashes"),
        "version": _("App, key"),
        "error": _("Last error"),
    }


def _facts(machine: Machine, now: float) -> dict[str, str]:
    record = machine.record
    memory = fleet_texts.memory(record.memory_used, record.memory)
    key = units.shortened(machine.public_key)
    return {
        "seen": fleet_texts.last_seen(machine.last_seen, now),
        "epoch": units.count(record.epoch),
        "gpu": fleet_texts.memory(record.gpu_memory_used, record.gpu_memory),
        "cpu": f"{fleet_texts.share(record.cpu_use)}, {memory}",
        "given": fleet_texts.contributions(record.samples, record.rounds),
        "line": f"{fleet_texts.share(record.computing)}, {units.size(record.bytes_sent)}",
        "mishaps": fleet_texts.mishaps(record.crashes, record.failed_rounds),
        "version": f"{record.app_version or units.NONE}, {key}",
        "error": record.last_error or _("none"),
    }
