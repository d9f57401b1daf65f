"""The chart of this machine's contributions by day."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout

from app.common.i18n import _, ngettext
from app.contributions.ledger import LedgerTotals
from ui.pages.contributions.day_bars import DayBars
from ui.style.theme import Theme
from ui.texts import units
from ui.widgets.buttons import choice_button
from ui.widgets.card import Card
from ui.widgets.charts.axes import Floats
from ui.widgets.charts.copy_menu import CopyMenu
from ui.widgets.charts.value_table import ValueTable
from ui.widgets.labels import label

HEIGHT = 160


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One of the figures that the bars can show, such as the compute time."""

    title: str
    """Translated."""

    value: Callable[[LedgerTotals], float]
    """The height of a day's bar."""

    text: Callable[[LedgerTotals], str]
    """A day's value in words, for the chosen bar."""

    units: Sequence[tuple[float, str]] = ((1.0, ""),)
    """Sizes and names of the units to choose from, the largest first."""

    def unit_for(self, highest: float) -> tuple[float, str]:
        """The size and name of the unit for values up to this one."""
        fitting = (unit for unit in self.units if highest >= 2 * unit[0])
        return next(fitting, self.units[-1])


def _measures() -> tuple[Measure, ...]:
    return (
        Measure(
            title=_("Compute time"),
            value=lambda totals: totals.compute_time,
            text=lambda totals: units.duration(totals.compute_time),
            units=((3600.0, _("hours")), (60.0, _("minutes")), (1.0, _("seconds"))),
        ),
        Measure(
            title=_("Samples"),
            value=lambda totals: totals.samples,
            text=lambda totals: ngettext(
                "{count} sample", "{count} samples", totals.samples
            ).format(count=units.count(totals.samples)),
        ),
        Measure(
            title=_("Score"),
            value=lambda totals: totals.score,
            text=lambda totals: _("score {score}").format(score=units.count(totals.score)),
        ),
    )


class DailyChart(Card):
    """A card with the bars, and buttons to choose the measure that they show."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(_("Day by day"))
        self._measures = _measures()
        self._measure = self._measures[0]
        self._days: Mapping[str, LedgerTotals | None] = {}
        self.bars = DayBars(theme, name=_("Day by day"))
        self.unit, self.reading = label(role="muted"), label(role="small")
        self.group = QButtonGroup(self)
        self.menu = CopyMenu(self, theme, values=self._table)
        self._lay_out()
        self.bars.reading_changed.connect(self._show_reading)
        self.group.idClicked.connect(self._choose)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(label(_("Day by day"), "strong"))
        head.addSpacing(6)
        head.addWidget(self.unit)
        head.addSpacing(10)
        head.addWidget(self.reading, 1)
        for index, measure in enumerate(self._measures):
            one = choice_button(measure.title)
            one.setChecked(index == 0)
            one.setAccessibleName(_("Show day by day: {what}").format(what=measure.title))
            self.group.addButton(one, index)
            head.addWidget(one)
        head.addWidget(self.menu.button)
        self.column.setContentsMargins(16, 8, 8, 8)
        self.column.setSpacing(4)
        self.column.addLayout(head)
        self.bars.widget.setFixedHeight(HEIGHT)
        self.column.addWidget(self.bars.widget)

    def _choose(self, index: int) -> None:
        self._measure = self._measures[index]
        self._draw()

    def show_days(self, days: Mapping[str, LedgerTotals | None]) -> None:
        """Show the totals by date, the last one today; None for days without a contribution."""
        self._days = days
        self._draw()

    def _draw(self) -> None:
        values = self._values()
        size, name = self._measure.unit_for(values.max(initial=0.0))
        self.unit.setText(name)
        self.bars.draw(list(self._days), values / size)

    def _values(self) -> Floats:
        value = self._measure.value
        found = [0.0 if each is None else float(value(each)) for each in self._days.values()]
        return np.array(found, dtype=np.float64)

    def _show_reading(self, place: int | None) -> None:
        text = ""
        if place is not None and place < len(self._days):
            day, totals = list(self._days.items())[place]
            what = _("nothing") if totals is None else self._measure.text(totals)
            text = _("{day}: {what}").format(day=day, what=what)
        self.reading.setText(text)
        if text:
            self.bars.widget.setAccessibleDescription(text)

    def _table(self) -> ValueTable:
        return ValueTable(
            ("day", "compute_seconds", "samples", "score"),
            [
                (day, totals.compute_time, totals.samples, totals.score)
                for day, totals in self._days.items()
                if totals is not None
            ],
            {"chart": _("Day by day"), "x_axis": _("Day")},
        )
