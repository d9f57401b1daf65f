"""A table of this machine's totals: today, this week, and all time."""

from collections.abc import Mapping

from PySide6.QtWidgets import QGridLayout

from app.common.i18n import _
from app.contributions.ledger import LedgerTotals
from app.contributions.summary import Summary
from ui.texts.given import contributions as contribution_texts
from ui.texts.given import energy as energy_texts
from ui.texts.given.energy import EnergyRules
from ui.widgets.card import ROW_HEIGHT, Card
from ui.widgets.labels import ElidedLabel, label, line


class ContributionTotalsCard(Card):
    """A row for each total, a column for each period."""

    def __init__(self) -> None:
        super().__init__(_("Given by this machine"))
        self._columns: list[dict[str, ElidedLabel]] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(0)
        self._grid.addWidget(label(_("Given by this machine"), "strong"), 0, 0)
        self._grid.setRowMinimumHeight(0, ROW_HEIGHT)
        names = contribution_texts.total_labels()
        for row, text in enumerate(names.values(), start=1):
            self._grid.addWidget(line(), 2 * row - 1, 0, 1, 4)
            self._grid.addWidget(label(text, "muted"), 2 * row, 0)
            self._grid.setRowMinimumHeight(2 * row, ROW_HEIGHT)
        for place, title in enumerate((_("Today"), _("This week"), _("All time")), start=1):
            self._add_column(place, title, names)
        self.column.addLayout(self._grid)
        self.column.addStretch()
        self.energy_note = label(role="small", wrap=True)
        self.energy_note.hide()
        self.column.addWidget(self.energy_note)
        self.column.addWidget(label(contribution_texts.score_note(), "small", wrap=True))

    def _add_column(self, place: int, title: str, names: Mapping[str, str]) -> None:
        self._grid.addWidget(ElidedLabel(title, "muted", right=True), 0, place)
        self._grid.setColumnStretch(place, 1)
        column = {name: ElidedLabel(role="strong", right=True) for name in names}
        for row, value in enumerate(column.values(), start=1):
            self._grid.addWidget(value, 2 * row, place)
        self._columns.append(column)

    def show_summary(self, summary: Summary, rules: EnergyRules) -> None:
        """Show the totals of a summary. rules: of the energy's cost, and of what is estimated."""
        note = energy_texts.how_it_is_known(summary.all, rules)
        self.energy_note.setText(note)
        self.energy_note.setVisible(bool(note))
        times: tuple[LedgerTotals, ...] = (summary.today, summary.week, summary.all)
        for column, totals in zip(self._columns, times, strict=True):
            for name, text in contribution_texts.total_values(totals, rules).items():
                column[name].set_full(text)

    def value(self, name: str, place: int) -> str:
        """A cell's whole value. name: the row, as in `total_labels`; place: the column, from 0."""
        return self._columns[place][name].full
