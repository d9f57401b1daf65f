"""One machine in detail: its record, and a plot of one figure over an hour to 90 days."""

import math
import time

import numpy as np
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from app.archive.keeper import SAVE_SECONDS
from app.common.i18n import _
from app.swarm.fleet import DAY, HOUR, METRICS, Machine
from ui.models.session_model import SessionModel
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
    """A card with the facts and the plot of the selected machine.

    The page connects ``close_button``, which clears the selection.
    """

    def __init__(self, model: SessionModel, theme: Theme) -> None:
        super().__init__(_("The chosen machine"))
        self._model = model
        self._fleet = model.session.machines.fleet
        self._asked: tuple[str, str, float] = ("", "", 0.0)  # key, figure, seconds
        self._asked_at = -math.inf
        self._public_key = ""
        self.name = ElidedLabel(role="strong")
        self.reading = label(role="small")
        self.figure, self.span = _choice(_("Figure shown"), _metrics()), _windows()
        self.close_button = icon_button("close", _("Close the details"), theme)
        self.plot = TimePlot(theme, name=_("The chosen machine over time"), from_zero=False)
        self._drawing = Drawing(axis=XAxis(now=0.0), start=0.0, own=Curve())
        self.menu = CopyMenu(self, theme, values=self._table)
        self._values: dict[str, ElidedLabel] = {}
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
        body.addWidget(self._facts(), 2)
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

    def show_machine(self, machine: Machine, *, own: bool) -> None:
        """Show a machine's newest record and its plot. own: it is the one that the app runs on."""
        if machine.public_key != self._public_key:
            self.plot.put_zoom(None)
        self._public_key = machine.public_key
        self.name.set_full(fleet_texts.machine_name(machine, own=own))
        for name, text in _facts(machine, time.time()).items():
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
            self._ask((self._public_key, metric, seconds), now)
            return
        self._asked = ("", "", 0.0)
        times, values = self._fleet.track(self._public_key, metric, seconds=seconds, now=now)
        self._plot(Curve(np.array(times), np.array(values)), seconds)

    def _ask(self, chosen: tuple[str, str, float], now: float) -> None:
        """Draw a time of which the archive alone knows: at once, and anew every minute."""
        if chosen != self._asked or now - self._asked_at >= SAVE_SECONDS:
            self._asked, self._asked_at = chosen, now
            self._model.run(self._load(chosen))

    async def _load(self, chosen: tuple[str, str, float]) -> None:
        key, metric, seconds = chosen
        archive = self._model.session.archive
        rows = await archive.curve(key, seconds=seconds, step=seconds / POINTS)
        if chosen == self._asked:
            column = METRICS.index(metric) + 1
            figures = np.array([(row[0], row[column]) for row in rows]).reshape(-1, 2)
            self._plot(Curve(figures[:, 0], figures[:, 1]), seconds)

    def _plot(self, curve: Curve, seconds: float) -> None:
        now = time.time()
        known = curve.times[np.isfinite(curve.values)]
        start = float(known[0]) if known.size else now - seconds
        if not self.plot.has_reading:
            self.reading.setText("" if known.size else _("no values yet"))
        self._drawing = Drawing(axis=XAxis(now=now), start=start, own=curve)
        self.plot.draw(self._drawing)

    def _table(self) -> ValueTable:
        """What is drawn, for pictures and files."""
        about = {
            "chart": self.name.full,
            "x_axis": self._drawing.axis.title(),
            "y_axis": self.figure.currentText(),
        }
        named = {self.figure.currentData(): self._drawing.own}
        return table_of(named, axis=self._drawing.axis, about=about)

    def _show_reading(self, reading: CurveReading | None) -> None:
        if reading is None or math.isnan(reading.own):
            self.reading.setText("")
            return
        self.reading.setText(f"{reading.where}  {units.rate(reading.own)}")


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
