"""The card that lists what happened to this machine, the newest first."""

import time

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from app.common.i18n import _
from app.timeline.timeline import Happening, Timeline
from ui.models.rows_model import Column, RowsModel
from ui.style.theme import Theme
from ui.texts import happenings, units
from ui.widgets.card import Card
from ui.widgets.choice import Choice
from ui.widgets.labels import label
from ui.widgets.table import table

ROWS = 6
"""That are seen at once; the others are scrolled to."""

ALL, TROUBLE = "all", "trouble"


class TimelineCard(Card):
    """A table of times and what happened then, and which of it to show."""

    def __init__(self, timeline: Timeline, theme: Theme) -> None:
        super().__init__(_("What happened"))
        self._timeline = timeline
        self._shown = -1
        self.model = RowsModel[Happening](_columns(), identity=id, parent=self)
        self.filter = Choice()
        self.filter.setAccessibleName(_("Show of what happened"))
        self.filter.addItem(_("Everything"), ALL)
        self.filter.addItem(_("Trouble only"), TROUBLE)
        self.table = table(self.model, theme, name=_("What happened"), stretched=1, padding=6)
        self.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        rows = ROWS * self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + rows + 4)
        head = QHBoxLayout()
        head.addWidget(label(_("What happened"), "strong"))
        head.addStretch()
        head.addWidget(self.filter)
        self.column.addLayout(head)
        self.column.addWidget(self.table)
        self.filter.currentIndexChanged.connect(self._choose)

    def refresh(self) -> None:
        """Show what has happened since the last call."""
        if self._timeline.count != self._shown:
            self._shown = self._timeline.count
            self.model.show_rows(self._timeline.last)

    def _choose(self) -> None:
        only_trouble = self.filter.currentData() == TROUBLE
        self.model.filter_rows(lambda row: row.is_trouble or not only_trouble)


def _columns() -> tuple[Column[Happening], ...]:
    return (
        Column(
            title=_("When"),
            text=lambda row: _when(row.time),
            key=lambda row: row.time,
            sample="2026-12-31 23:59",
            tip=lambda row: units.timestamp(row.time),
        ),
        Column(
            title=_("What"),
            text=happenings.words,
            key=lambda row: row.kind.value,
            sample="",
            tone=lambda row: "caution" if row.is_trouble else "",
        ),
    )


def _when(moment: float) -> str:
    """The time of day; of another day, date and time."""
    today = time.localtime(moment)[:3] == time.localtime()[:3]
    return units.clock(moment) if today else units.date(moment)
