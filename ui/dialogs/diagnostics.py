"""The dialog that collects diagnostics into an archive for a bug report."""

import asyncio
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QWidget
from shiboken6 import isValid

from app.common.errors import DiagnosticsError
from app.common.i18n import _
from app.desktop.diagnostics import collect, default_name
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.texts.states import error_text
from ui.widgets.buttons import button
from ui.widgets.labels import label

WIDTH = 560


class DiagnosticsDialog(Dialog):
    """Says what goes into the archive, and writes it to a file that the user chooses."""

    def __init__(self, window: QWidget, model: SessionModel) -> None:
        super().__init__(window, _("Collect diagnostics"), width=WIDTH, scrolls=True)
        self._model = model
        self._file = Path()
        for text, role in _words():
            self.column.addWidget(label(text, role, wrap=True))
        self.outcome = label("", "strong", wrap=True)
        self.outcome.hide()
        self.column.addWidget(self.outcome)
        self.column.addStretch()
        self.save, self.show_it = button(_("Save as…"), "primary"), button(_("Open folder"))
        self.show_it.hide()
        closing = button(_("Close"))
        self.save.clicked.connect(self._choose)
        self.show_it.clicked.connect(self._open_folder)
        closing.clicked.connect(self.accept)
        self.add_buttons(self.show_it, self.save, closing)

    def _choose(self) -> None:
        proposed = str(Path.home() / default_name())
        name, _kind = QFileDialog.getSaveFileName(self, self.windowTitle(), proposed, "ZIP (*.zip)")
        if name:
            self._model.run(self.write(Path(name)))

    async def write(self, file: Path) -> None:
        """Write the archive and show the outcome."""
        session = self._model.session
        self.save.setEnabled(False)
        try:
            await asyncio.to_thread(
                collect, file, folders=session.folders, settings=session.store.settings
            )
        except DiagnosticsError as error:
            if not isValid(self):  # the user may have closed it meanwhile
                raise
            self._say(error_text(error))
        else:
            if isValid(self):
                self._file = file
                self._say(_("Saved as {file}").format(file=file))
                self.show_it.show()
        finally:
            if isValid(self):
                self.save.setEnabled(True)

    def _say(self, text: str) -> None:
        self.outcome.setText(text)
        self.outcome.show()

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._file.parent)))


def _words() -> tuple[tuple[str, str], ...]:
    return (
        (_("Makes one archive that you can attach to a bug report. Nothing is sent anywhere."), ""),
        (
            _(
                "It holds the logs, the settings, the versions of all parts, a"
                " list of the hardware, and the names and sizes of the files in"
                " the data folder."
            ),
            "muted",
        ),
        (
            _(
                "Tokens, passwords, keys, e-mail addresses, IP addresses, and"
                " the names of this computer and its user are taken out. Titles"
                " of swarms and peers' ids stay: look through the archive before"
                " you pass it on."
            ),
            "muted",
        ),
    )
