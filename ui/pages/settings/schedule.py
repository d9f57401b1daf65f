"""An editor for the weekly schedule: a grid to drag over, and fields for each day."""

from functools import partial

from PySide6.QtCore import QRegularExpression, Signal
from PySide6.QtGui import QRegularExpressionValidator
from PySide6.QtWidgets import QCheckBox, QGridLayout, QLineEdit, QWidget

from app.common.i18n import _
from app.terms.schedule import DAYS, Schedule, Span, clock
from ui.pages.settings.week_grid import WeekGrid
from ui.style.theme import Theme
from ui.texts.terms import day_names
from ui.widgets.banner import announce
from ui.widgets.forms.fields import error_label, show_error
from ui.widgets.labels import label, restyle

NIGHT = Span(18 * 60, 8 * 60)
"""The times proposed for a day, 18:00 to 08:00, in minutes since midnight."""

MIDNIGHT = 24 * 60
"""The end of a day, in minutes."""

BEGINS = QRegularExpression("([01]?[0-9]|2[0-3]):[0-5][0-9]")
ENDS = QRegularExpression("([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00")


class ScheduleEditor(QWidget):
    """The grid of the week; below it a check box and two times for each day."""

    edited = Signal()
    """The user changed the schedule, and it is valid."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.grid = WeekGrid(theme)
        self.days = [QCheckBox(name) for name in day_names()]
        self.begins = [_time(BEGINS, _("{day}, from"), name) for name in day_names()]
        self.ends = [_time(ENDS, _("{day}, until"), name) for name in day_names()]
        self._notes = [label(role="muted") for _name in day_names()]
        self.error = error_label()
        self._lay_out()
        self._connect()
        self.show_schedule(Schedule())

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(4, 1)
        for row in range(len(DAYS)):
            parts = (self.days[row], self.begins[row], label("–"), self.ends[row], self._notes[row])
            for column, widget in enumerate(parts):
                grid.addWidget(widget, row + 1, column)
        grid.addWidget(self.grid, 0, 0, 1, 5)
        grid.addWidget(self.error, len(DAYS) + 1, 0, 1, 5)

    def _connect(self) -> None:
        self.grid.dragged.connect(self._take)
        for row in range(len(DAYS)):
            self.days[row].clicked.connect(self._on_edited)
            for edit in (self.begins[row], self.ends[row]):
                edit.textChanged.connect(partial(_mark, edit))
                edit.editingFinished.connect(self._on_edited)

    @property
    def schedule(self) -> Schedule | None:
        """The chosen schedule; empty, which means always, if no day is checked; None if a time of a
        checked day is invalid."""
        if any(day.isChecked() and not self._is_valid(row) for row, day in enumerate(self.days)):
            return None
        spans = [self._span(row) if day.isChecked() else None for row, day in enumerate(self.days)]
        return Schedule(tuple(spans)) if any(spans) else Schedule()

    def _is_valid(self, row: int) -> bool:
        return self.begins[row].hasAcceptableInput() and self.ends[row].hasAcceptableInput()

    def _span(self, row: int) -> Span:
        return Span(_minutes(self.begins[row]), _minutes(self.ends[row]) or MIDNIGHT)

    def show_schedule(self, schedule: Schedule) -> None:
        """Show a schedule."""
        for row, span in enumerate(schedule.days or (None,) * len(DAYS)):
            self.days[row].setChecked(span is not None)
            self._show_times(row, span or NIGHT)
        self._show_what_follows()

    def _show_times(self, row: int, span: Span) -> None:
        self.begins[row].setText(clock(span.begin))
        self.ends[row].setText(clock(span.end))

    def _take(self, days: tuple[int, ...], span: Span | None) -> None:
        for row in days:
            self.days[row].setChecked(span is not None)
            if span is not None:
                self._show_times(row, span)
        self._on_edited()

    def _show_what_follows(self) -> None:
        schedule = self.schedule
        if schedule is not None:
            self.grid.show_schedule(schedule)
        for row, day in enumerate(self.days):
            self.begins[row].setEnabled(day.isChecked())
            self.ends[row].setEnabled(day.isChecked())
            self._notes[row].setText(self._note(row) if day.isChecked() else "")
        show_error(self.error, "" if schedule is not None else _what_is_wrong())

    def _note(self, row: int) -> str:
        if not self._is_valid(row):
            return ""
        span = self._span(row)
        return _("on the next day") if span.end <= span.begin else ""

    def _on_edited(self) -> None:
        for row, day in enumerate(self.days):
            if not day.isChecked() and not self._is_valid(row):
                self._show_times(row, NIGHT)  # what is wrong there shall hold up no other day
        self._show_what_follows()
        if self.schedule is not None:
            self.edited.emit()
        else:
            announce(self.error)


def _time(allowed: QRegularExpression, name: str, day: str) -> QLineEdit:
    made = QLineEdit()
    made.setAccessibleName(name.format(day=day))
    made.setValidator(QRegularExpressionValidator(allowed, made))
    made.setFixedWidth(80)
    return made


def _mark(edit: QLineEdit, _text: str) -> None:
    restyle(edit, "wrong", "false" if edit.hasAcceptableInput() else "true")


def _what_is_wrong() -> str:
    return _("Not saved: a ticked day lacks a time. Write it as hours and minutes, such as 22:00.")


def _minutes(edit: QLineEdit) -> int:
    hours, _colon, minutes = edit.text().partition(":")
    return int(hours) * 60 + int(minutes)
