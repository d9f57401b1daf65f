"""Times of the week, a row for each day."""

from functools import partial

from PySide6.QtCore import QTime, Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QTimeEdit, QWidget

from app.i18n import _
from app.schedule import Schedule, Span
from ui.terms_texts import day_names
from ui.widgets.labels import label

DAY = 24 * 60
EVENING = Span(18 * 60, 8 * 60)
"""What a day that is ticked begins with."""


class ScheduleEditor(QWidget):
    """``edited``: the user has changed a day."""

    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.days: list[QCheckBox] = []
        self.begins: list[QTimeEdit] = []
        self.ends: list[QTimeEdit] = []
        self._next_day = [label(_("on the next day"), "muted") for _name in day_names()]
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(4, 1)
        for row, name in enumerate(day_names()):
            self._add_day(row, name)
        self.show_schedule(Schedule())

    def _add_day(self, row: int, name: str) -> None:
        day, begin, end = QCheckBox(name), _time(), _time()
        begin.setAccessibleName(_("{day}, from").format(day=name))
        end.setAccessibleName(_("{day}, until").format(day=name))
        day.clicked.connect(partial(self._on_day, row))
        begin.editingFinished.connect(self._on_time)
        end.editingFinished.connect(self._on_time)
        for column, widget in enumerate((day, begin, label("–"), end, self._next_day[row])):
            self._grid.addWidget(widget, row, column)
        self.days.append(day)
        self.begins.append(begin)
        self.ends.append(end)

    @property
    def schedule(self) -> Schedule:
        """What is chosen; without a day, always."""
        days = [
            Span(_minutes(begin), _minutes(end) or DAY) if day.isChecked() else None
            for day, begin, end in zip(self.days, self.begins, self.ends, strict=True)
        ]
        return Schedule(tuple(days)) if any(days) else Schedule()

    def show_schedule(self, schedule: Schedule) -> None:
        """Show what is in force."""
        for row, span in enumerate(schedule.days or (None,) * len(self.days)):
            self.days[row].setChecked(span is not None)
            self._show_span(row, span or EVENING)
            self._enable(row)

    def _show_span(self, row: int, span: Span) -> None:
        for edit, minutes in ((self.begins[row], span.begin), (self.ends[row], span.end % DAY)):
            edit.setTime(QTime(minutes // 60, minutes % 60))

    def _enable(self, row: int) -> None:
        chosen = self.days[row].isChecked()
        begin, end = _minutes(self.begins[row]), _minutes(self.ends[row])
        self.begins[row].setEnabled(chosen)
        self.ends[row].setEnabled(chosen)
        self._next_day[row].setVisible(chosen and 0 < end <= begin)

    def _on_day(self, row: int) -> None:
        self._enable(row)
        self.edited.emit()

    def _on_time(self) -> None:
        for row in range(len(self.days)):
            self._enable(row)
        self.edited.emit()


def _time() -> QTimeEdit:
    made = QTimeEdit()
    made.setDisplayFormat("HH:mm")
    made.setButtonSymbols(QTimeEdit.ButtonSymbols.NoButtons)
    made.setFixedWidth(76)
    return made


def _minutes(edit: QTimeEdit) -> int:
    return edit.time().hour() * 60 + edit.time().minute()
