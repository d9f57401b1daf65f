"""The files of this machine that training would read: slots to fill, and the list of all files."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget
from shiboken6 import isValid

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.common.plain import one_line
from ui.models.session_model import SessionModel
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.card import Card
from ui.widgets.forms.fields import error_label, show_error
from ui.widgets.labels import ElidedLabel, label

if TYPE_CHECKING:
    from app.spec.filling import SlotPlace
    from app.spec.schema import SwarmSpec

LIST_HEIGHT = 120
"""Pixels; a longer list scrolls."""

Found = tuple[tuple[Path, ...], int]
"""The files that fill a slot, and their bytes together."""


class SlotRow(QWidget):
    """One slot: what belongs into it, what the user has chosen for it, and buttons to choose."""

    changed = Signal()
    """The slot was filled, or what was chosen for it doesn't fit."""

    def __init__(self, place: "SlotPlace", model: SessionModel) -> None:
        super().__init__()
        self.slot = place.slot
        self.path = ""
        """What fills the slot, or ""."""
        self.files: tuple[Path, ...] = ()
        self._model = model
        self._one_file = place.one_file
        self._newest = object()
        self.chosen = ElidedLabel(_("Nothing chosen yet"), role="muted")
        self.file = button(_("Choose a file…"))
        self.folder = button(_("Choose a folder…"))
        self.error = error_label()
        self._lay_out()
        self.file.clicked.connect(lambda: self._browse(QFileDialog.FileMode.ExistingFile))
        self.folder.clicked.connect(lambda: self._browse(QFileDialog.FileMode.Directory))

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.chosen, 1)
        row.addWidget(self.file)
        row.addWidget(self.folder)
        self.folder.setHidden(self._one_file)
        for each in (self.file, self.folder):
            each.setAutoDefault(False)
            each.setAccessibleDescription(self.slot.label)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(label(self.slot.label, "strong"))
        for text in (self.slot.description, self._wanted()):
            if text:
                column.addWidget(label(text, "muted", wrap=True))
        column.addLayout(row)
        column.addWidget(self.error)

    def _wanted(self) -> str:
        if self.slot.sha256 is not None:
            return _("The file that all peers have, with the SHA-256 {hash}").format(
                hash=self.slot.sha256
            )
        if self.slot.bytes is not None:
            return _("{count} bytes").format(count=units.count(self.slot.bytes))
        return ""

    def _browse(self, mode: QFileDialog.FileMode) -> None:
        dialog = QFileDialog(self, _("Choose files for {label}").format(label=self.slot.label))
        dialog.setFileMode(mode)
        dialog.fileSelected.connect(self.choose)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def choose(self, path: str) -> None:
        """Fill the slot with a file or folder, once a thread has found that it fits."""
        self._newest = mine = object()
        self.path, self.files = "", ()
        show_error(self.error, "")
        self.chosen.set_full(_("Reading {path}…").format(path=path))
        self.changed.emit()
        self._model.run(self._look(path, mine))

    async def _look(self, path: str, mine: object) -> None:
        from app.spec import filling

        def look() -> Found:
            files = filling.listed(self.slot, Path(path), one_file=self._one_file)
            return files, filling.total_size(files)

        try:
            files, size = await asyncio.to_thread(look)
        except (UserFacingError, OSError) as error:
            if isValid(self) and mine is self._newest:
                self._refuse(_problem(path, error))
            return
        if isValid(self) and mine is self._newest:
            self.path, self.files = path, files
            count = ngettext("{count} file", "{count} files", len(files))
            words = (path, count.format(count=units.count(len(files))), units.size(size))
            self.chosen.set_full(", ".join(words))
            self.changed.emit()

    def _refuse(self, text: str) -> None:
        self.chosen.set_full(_("Nothing chosen yet"))
        show_error(self.error, text)
        self.changed.emit()


def _problem(path: str, error: UserFacingError | OSError) -> str:
    if isinstance(error, UserFacingError):
        return texts.error_text(error)
    return _("{path} can't be read: {reason}.").format(path=path, reason=error.strerror or error)


class FilesCard(Card):
    """A row for each slot of a swarm, and below them all files that training would read."""

    changed = Signal()
    """Another slot is filled, or one isn't any more."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__(_("Files of this machine"))
        self._model = model
        self._own: list[str] = []
        self.rows: list[SlotRow] = []
        self.list = QPlainTextEdit(readOnly=True)
        self.list.setTabChangesFocus(True)
        self.list.setFixedHeight(LIST_HEIGHT)
        self.list.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.list.setAccessibleName(_("All files that it would read"))
        self.column.addWidget(label(_("Files of this machine"), "strong"))
        self._places = QVBoxLayout()
        self._places.setSpacing(12)
        self.column.addLayout(self._places)
        self.caption = label(_("It would read:"), "muted")
        self.column.addWidget(self.caption)
        self.column.addWidget(self.list)

    @property
    def complete(self) -> bool:
        """Whether each slot is filled."""
        return all(row.path for row in self.rows)

    @property
    def chosen(self) -> dict[str, str]:
        """What fills the slots that are filled, by label."""
        return {row.slot.label: row.path for row in self.rows if row.path}

    def show_spec(self, spec: "SwarmSpec") -> None:
        """Show the slots and paths of a swarm; what was chosen for it earlier is filled in."""
        from app.spec import filling

        for row in self.rows:
            row.hide()
            row.deleteLater()
        self.rows = [SlotRow(place, self._model) for place in filling.places(spec)]
        self._own = [path for paths in filling.paths(spec).values() for path in paths]
        self.setVisible(bool(self.rows or self._own))
        known = self._model.session.bindings.of(spec.run_id)
        for row in self.rows:
            self._places.addWidget(row)
            row.changed.connect(self._on_row)
            if row.slot.label in known:
                row.choose(str(known[row.slot.label]))
        self._on_row()

    def _on_row(self) -> None:
        paths = [*self._own, *(str(file) for row in self.rows for file in row.files)]
        self.list.setPlainText("\n".join(one_line(path, most=4096) for path in paths))
        for part in (self.caption, self.list):
            part.setVisible(bool(paths))
        self.changed.emit()

    def focus_first_empty(self) -> bool:
        """Go to the first slot that is empty; returns whether there is one."""
        empty = next((row for row in self.rows if not row.path), None)
        if empty is not None:
            empty.file.setFocus(Qt.FocusReason.OtherFocusReason)
        return empty is not None
