"""A chart: title, unit, a legend that shows the values at the crosshair, the plot, a copy menu."""

import math
from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from app.common.i18n import _
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.card import Card
from ui.widgets.charts.copy_menu import CopyMenu
from ui.widgets.charts.plot import Curve, CurveReading, Mark, TimePlot, Unseen
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.labels import ElidedLabel, label, swatch


class Chart(Card):
    """A card with two curves over time, this machine's and the swarm's; that of the loss has two
    dashed ones beside them, of the loss on unseen text."""

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
        self._curves, self._unseen = (Curve(), Curve()), Unseen()
        self.plot = TimePlot(theme, name=name, from_zero=from_zero)
        self.own, self.swarm = label(role="small"), label(role="small")
        self.unseen = label(role="small")
        self.moment = label(role="small")
        self.menu = CopyMenu(self, theme, values=self._values)
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
        head.addSpacing(4)
        head.addWidget(self.unseen)
        self.unseen.hide()
        head.addWidget(self.menu.button)
        self.column.setContentsMargins(16, 8, 8, 8)
        self.column.setSpacing(4)
        self.column.addLayout(head)
        self.column.addWidget(self.plot.widget, 1)

    def _values(self) -> ValueTable:
        unseen = self._unseen
        named = {"this_machine": self._curves[0], "swarm": self._curves[1]}
        if unseen.own.times.size or unseen.swarm.times.size:
            named |= {"this_machine_unseen": unseen.own, "swarm_unseen": unseen.swarm}
        return table_of(named)

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
        self._curves, self._unseen = (own, swarm), unseen or Unseen()
        has_unseen = self._unseen.own.times.size or self._unseen.swarm.times.size
        self.unseen.setVisible(bool(has_unseen))
        if not self.plot.has_reading:
            self.moment.setText(self._hint())
        self.plot.draw(own, swarm, start, now, unseen=unseen, marks=marks)

    def _show_reading(self, reading: CurveReading | None) -> None:
        if reading is None:
            self.moment.setText(self._hint())
            self.own.setText(_("this machine"))
            self.swarm.setText(_("swarm"))
            self.unseen.setText(_("unseen text: dashed"))
            return
        clock = units.clock(reading.moment)
        self.moment.setText(f"{clock} {reading.mark}".rstrip())
        self.own.setText(self._format_value(reading.own))
        self.swarm.setText(self._format_value(reading.swarm))
        self.unseen.setText(
            _("unseen text: {value}").format(value=self._format_value(reading.unseen))
        )
        self.plot.widget.setAccessibleDescription(
            _("{time}: this machine {own}, swarm {swarm}").format(
                time=self.moment.text(), own=self.own.text(), swarm=self.swarm.text()
            )
        )

    def _hint(self) -> str:
        return "" if any(curve.times.size for curve in self._curves) else _("no values yet")


def table_of(curves: Mapping[str, Curve]) -> ValueTable:
    """Curves by the names of their columns: a row for each moment."""
    rows: dict[float, list[float | None]] = {}
    for place, curve in enumerate(curves.values()):
        for moment, value in zip(curve.times.tolist(), curve.values.tolist(), strict=True):
            if math.isfinite(value):
                rows.setdefault(moment, [None] * len(curves))[place] = value
    return ValueTable(
        ("time", *curves),
        [(units.timestamp(moment), *rows[moment]) for moment in sorted(rows)],
    )
