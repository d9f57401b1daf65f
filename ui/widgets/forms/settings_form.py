"""Settings in a form, saved as they are changed."""

from collections.abc import Sequence
from functools import partial

from PySide6.QtGui import QShowEvent
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _
from ui.models.preferences import Preferences
from ui.widgets.forms.form import COLUMNS, FieldGrid
from ui.widgets.forms.settings_rows import Row


class SettingsForm(FieldGrid):
    """Rows of settings. What is refused stays in its field, with the reason, until it is mended
    or the form is shown anew."""

    def __init__(
        self, rows: Sequence[Row], preferences: Preferences, *, columns: int = COLUMNS
    ) -> None:
        super().__init__([row.field for row in rows], columns=columns)
        self.rows = rows
        self._preferences = preferences
        for row in rows:
            _say_origin(row, preferences.origin(row.name))
            self._show(row)
            row.field.committed.connect(partial(self._take, row))
        preferences.changed.connect(self._on_changed)
        preferences.refused.connect(self._on_refused)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        for row in self.rows:  # settings change in other places as well
            self._show(row)

    def _show(self, row: Row) -> None:
        row.field.set_value(row.show(self._preferences.value(row.name)))
        row.field.show_problem(None)

    def _take(self, row: Row) -> None:
        old = self._preferences.value(row.name)
        if row.field.value != row.show(old):
            self._preferences.change(row.name, row.take(row.field.value, old))
        elif row.field.error.text():  # what was wrong is taken back
            row.field.show_problem(None)

    def _on_changed(self, name: str) -> None:
        for row in self.rows:
            if row.name == name:
                self._show(row)

    def _on_refused(self, name: str, error: UserFacingError) -> None:
        for row in self.rows:
            if row.name == name:
                row.field.show_problem(error)


def _say_origin(row: Row, origin: str) -> None:
    if origin:
        words = _("{origin} sets it at each start, whatever is chosen here.").format(origin=origin)
        row.field.set_hint(f"{row.field.hint.text()} {words}".lstrip())
