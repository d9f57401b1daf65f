"""A chart: title, unit, a legend that shows the values at the crosshair, the plot, a copy menu."""

import math
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from app.common.i18n import _
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.card import Card
from ui.widgets.charts.copy_menu import CopyMenu
from ui.widgets.charts.plot import Curve, CurveReading, TimePlot
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.labels import ElidedLabel, label, swatch


class Chart(Card):
    """A card with two curves over time: this machine's and the swarm's."""

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
        self._format_value = format_value
        self._curves = (Curve(), Curve())
        self.plot = TimePlot(theme, name=name, from_zero=from_zero)
        self.own, self.swarm = label(role="small"), label(role="small")
        self.moment = label(role="small")
        self.menu = CopyMenu(self, theme, values=lambda: table_of(*self._curves))
        self._lay_out(title, unit)
        self.plot.reading_changed.connect(self._show_reading)
        self._show_reading(None)

    def _lay_out(self, title: str, unit: str) -> None:
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(label(title, "strong"))
        head.addWidget(ElidedLabel(unit, "muted"), 1)
        head.addWidget(self.moment)
        for curve, words in (("own", self.own), ("swarm", self.swarm)):
            head.addSpacing(4)
            head.addWidget(swatch(curve), 0, Qt.AlignmentFlag.AlignVCenter)
            head.addWidget(words)
        head.addWidget(self.menu.button)
        self.column.setContentsMargins(16, 8, 8, 8)
        self.column.setSpacing(4)
        self.column.addLayout(head)
        self.column.addWidget(self.plot.widget, 1)

    def draw(self, own: Curve, swarm: Curve, start: float, now: float) -> None:
        """Draw the curves from ``start`` to ``now``, in seconds since the epoch."""
        self._curves = (own, swarm)
        if not self.plot.has_reading:
            self.moment.setText(self._hint())
        self.plot.draw(own, swarm, start, now)

    def _show_reading(self, reading: CurveReading | None) -> None:
        if reading is None:
            self.moment.setText(self._hint())
            self.own.setText(_("this machine"))
            self.swarm.setText(_("swarm"))
            return
        self.moment.setText(units.clock(reading.moment))
        self.own.setText(self._format_value(reading.own))
        self.swarm.setText(self._format_value(reading.swarm))
        self.plot.widget.setAccessibleDescription(
            _("{time}: this machine {own}, swarm {swarm}").format(
                time=self.moment.text(), own=self.own.text(), swarm=self.swarm.text()
            )
        )

    def _hint(self) -> str:
        return "" if any(curve.times.size for curve in self._curves) else _("no values yet")


def table_of(own: Curve, swarm: Curve) -> ValueTable:
    """A row for each moment of the curves."""
    rows: dict[float, list[float | None]] = {}
    for place, curve in enumerate((own, swarm)):
        for moment, value in zip(curve.times.tolist(), curve.values.tolist(), strict=True):
            if math.isfinite(value):
                rows.setdefault(moment, [None, None])[place] = value
    return ValueTable(
        ("time", "this_machine", "swarm"),
        [(units.timestamp(moment), *rows[moment]) for moment in sorted(rows)],
    )
