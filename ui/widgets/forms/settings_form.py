"""A form of settings; each is saved as soon as it is changed."""

from collections.abc import Mapping, Sequence
from functools import partial

from PySide6.QtGui import QShowEvent
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _
from ui.models.preferences import Preferences
from ui.widgets.forms.fields import COLUMNS, FieldGrid
from ui.widgets.forms.settings_rows import SettingRow


class SettingsForm(FieldGrid):
    """Rows of settings.

    A refused value stays in its field, with the reason, until the user corrects it or the form is
    shown again.
    """

    def __init__(
        self, rows: Sequence[SettingRow], preferences: Preferences, *, columns: int = COLUMNS
    ) -> None:
        super().__init__([row.field for row in rows], columns=columns)
        self.rows = rows
        self._preferences = preferences
        self._warnings: Mapping[str, str] = {}
        self._committed: dict[str, str] = {}  # what stood in a field when the user left it
        for row in rows:
            _say_origin(row, preferences.origin(row.name))
            self._show(row)
            row.field.committed.connect(partial(self._take, row))
        preferences.changed.connect(self._on_changed)
        preferences.refused.connect(self._on_refused)

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        for row in self.rows:  # settings may have changed elsewhere
            self._show(row)

    def _show(self, row: SettingRow) -> None:
        row.field.set_value(row.to_text(self._preferences.value(row.name)))
        row.field.show_wrong(self._warnings.get(row.name, ""))

    def look_for(self, words: Sequence[str], *, under: str = "") -> bool:
        """Show the rows that have all words in caption or hint; returns whether there are any.

        words: in small letters; () shows all rows. under: the section's title, which counts too.
        """
        for row in self.rows:
            text = f"{under} {row.field.caption.text()} {row.field.hint.text()}".casefold()
            row.field.relevant = all(word in text for word in words)
        self.arrange()
        return any(row.field.relevant for row in self.rows)

    def warn(self, warnings: Mapping[str, str]) -> None:
        """Say what a value that is in force does to this machine, by the setting's name."""
        before, self._warnings = self._warnings, warnings
        for row in self.rows:
            text, old = warnings.get(row.name, ""), before.get(row.name, "")
            if text != old and row.field.error.text() in ("", old):  # else a value was refused
                row.field.show_wrong(text)

    def _take(self, row: SettingRow) -> None:
        old = self._preferences.value(row.name)
        self._committed[row.field.caption.text()] = row.field.value
        if row.field.value != row.to_text(old):
            self._preferences.change(row.name, row.to_value(row.field.value, old))
        elif row.field.error.text():  # the user undid a refused change
            row.field.show_wrong(self._warnings.get(row.name, ""))

    def _on_changed(self, name: str) -> None:
        for row in self.rows:
            text = row.field.value
            typed_since = self._committed.get(row.field.caption.text(), text) != text
            if row.name == name and not (typed_since and row.field.control.hasFocus()):
                self._show(row)

    def _on_refused(self, name: str, error: UserFacingError) -> None:
        for row in self.rows:
            if row.name == name:
                row.field.show_problem(error)


def _say_origin(row: SettingRow, origin: str) -> None:
    if origin:
        words = _("{origin} sets it at each start, whatever is chosen here.").format(origin=origin)
        row.field.set_hint(f"{row.field.hint.text()} {words}".lstrip())
