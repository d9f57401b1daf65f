"""A chart: title, unit, a legend that shows the values at the crosshair, the plot, a copy menu."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy

from app.common.i18n import _
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.card import Card
from ui.widgets.charts.copy_menu import CopyMenu
from ui.widgets.charts.curves import Curve, CurveReading, Drawing
from ui.widgets.charts.plot import TimePlot
from ui.widgets.charts.smoothing import Smoothing, how_it_is_smoothed, smoothings
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.charts.x_axis import AxisKind, XAxis
from ui.widgets.charts.zoom import Zoom
from ui.widgets.labels import ElidedLabel, label, swatch


class Chart(Card):
    """A card with two curves, this machine's and the swarm's; that of the loss has two dashed ones
    beside them, of the loss on unseen text."""

    def __init__(
        self,
        theme: Theme,
        *,
        title: str,
        unit: str,
        format_value: Callable[[float], str],
        from_zero: bool = False,
    ) -> None:
        """format_value: writes a value for the legend. from_zero: the left axis begins at 0."""
        name = f"{title}, {unit}"
        super().__init__(name)
        self._title, self._unit = title, unit
        self._format_value = format_value
        self._drawing = Drawing(axis=XAxis(now=0.0), start=0.0, own=Curve())
        self.plot = TimePlot(theme, name=name, from_zero=from_zero)
        self.own, self.swarm = label(role="small"), label(role="small")
        self.unseen, self.smoothed = label(role="small"), label(role="small")
        self.moment = ElidedLabel(role="small")  # a long one must not push the charts apart
        self.menu = CopyMenu(self, theme, values=self._values)
        self._lay_out(title, unit)
        self.plot.reading_changed.connect(self._show_reading)
        self._show_reading(None)

    def _lay_out(self, title: str, unit: str) -> None:
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(label(title, "strong"))
        shown_unit = ElidedLabel(unit, "muted")
        # what is read at the crosshair gets its room first
        shown_unit.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        head.addWidget(shown_unit, 1)
        head.addWidget(self.smoothed)
        head.addWidget(self.moment)
        for curve, words in (("own", self.own), ("swarm", self.swarm)):
            head.addSpacing(4)
            head.addWidget(swatch(curve), 0, Qt.AlignmentFlag.AlignVCenter)
            head.addWidget(words)
        head.addSpacing(4)
        head.addWidget(self.unseen)
        self.unseen.hide()
        self.smoothed.hide()
        head.addWidget(self.menu.button)
        self.column.setContentsMargins(16, 8, 8, 8)
        self.column.setSpacing(4)
        self.column.addLayout(head)
        self.column.addWidget(self.plot.widget, 1)

    def _values(self) -> ValueTable:
        """What is shown, as it was measured."""
        drawing, shown = self._drawing, self.plot.shown
        unseen = drawing.unseen
        named = {"this_machine": drawing.own, "swarm": drawing.swarm}
        if unseen.own.times.size or unseen.swarm.times.size:
            named |= {"this_machine_unseen": unseen.own, "swarm_unseen": unseen.swarm}
        about = {
            "chart": self._title,
            "run": drawing.run,
            "x_axis": drawing.axis.title(),
            "y_axis": self._unit,
        }
        if self.plot.zoom is not None:
            named = {name: _section(curve, drawing.axis, shown) for name, curve in named.items()}
        return table_of(named, axis=drawing.axis, about=about)

    def draw(self, drawing: Drawing) -> None:
        """Draw the curves."""
        self._drawing = drawing
        unseen = drawing.unseen
        self.unseen.setVisible(bool(unseen.own.times.size or unseen.swarm.times.size))
        self.smoothed.setText(smoothings()[drawing.smoothing])
        set_tool_tip(self.smoothed, how_it_is_smoothed(drawing.smoothing))
        self._show_smoothing()
        if not self.plot.has_reading:
            self.moment.set_full(self._hint())
        self.plot.draw(drawing)

    def _show_smoothing(self) -> None:
        smoothed = self._drawing.smoothing is not Smoothing.NONE
        # what is read at the crosshair needs the room
        self.smoothed.setVisible(smoothed and not self.plot.has_reading)

    def _show_reading(self, reading: CurveReading | None) -> None:
        self._show_smoothing()
        if reading is None:
            self.moment.set_full(self._hint())
            self.own.setText(_("this machine"))
            self.swarm.setText(_("swarm"))
            self.unseen.setText(_("unseen text: dashed"))
            return
        self.moment.set_full(f"{reading.where} {reading.mark}".rstrip())
        self.own.setText(self._smoothed_value(reading.own))
        self.swarm.setText(self._smoothed_value(reading.swarm))
        self.unseen.setText(
            _("unseen text: {value}").format(value=self._format_value(reading.unseen))
        )
        self.plot.widget.setAccessibleDescription(
            _("{time}: this machine {own}, swarm {swarm}").format(
                time=self.moment.full, own=self.own.text(), swarm=self.swarm.text()
            )
        )

    def _smoothed_value(self, value: float) -> str:
        """With a sign that it isn't the measured one, where the curve is smoothed."""
        text = self._format_value(value)
        smoothed = self._drawing.smoothing is not Smoothing.NONE
        return f"≈ {text}" if smoothed and math.isfinite(value) else text

    def _hint(self) -> str:
        curves = (self._drawing.own, self._drawing.swarm)
        return "" if any(curve.times.size for curve in curves) else _("no values yet")


def _section(curve: Curve, axis: XAxis, shown: Zoom) -> Curve:
    """The points in a section of the axis."""
    x = axis.place(curve.times)
    inside = (x >= shown.low) & (x <= shown.high)
    return Curve(curve.times[inside], curve.values[inside])


def table_of(curves: Mapping[str, Curve], *, axis: XAxis, about: Mapping[str, str]) -> ValueTable:
    """Curves by the names of their columns: a row for each moment, and where it is on the axis."""
    rows: dict[float, list[float | None]] = {}
    for place, curve in enumerate(curves.values()):
        for moment, value in zip(curve.times.tolist(), curve.values.tolist(), strict=True):
            if math.isfinite(value):
                rows.setdefault(moment, [None] * len(curves))[place] = value
    moments = sorted(rows)
    columns: list[str] = ["time"]
    places: list[list[float]] = [[] for _moment in moments]
    if axis.kind is not AxisKind.TIME:
        columns.append(axis.kind.value)
        places = [[x] for x in axis.place(np.array(moments)).tolist()]
    return ValueTable(
        (*columns, *curves),
        [
            (units.timestamp(moment), *place, *rows[moment])
            for moment, place in zip(moments, places, strict=True)
        ],
        about,
    )
