"""The tab for an invite: a field to paste its link, and a button to open its file."""

from pathlib import Path

from PySide6.QtCore import QStandardPaths, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from app.common.errors import UserFacingError
from app.common.i18n import _
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.forms.fields import error_label, line_edit, show_error
from ui.widgets.labels import label


class InviteInput(QWidget):
    """Takes an invite from the user; the dialog reads it."""

    pasted = Signal(str)
    """Carries the text in the field, which should be a link."""

    opened = Signal(str)
    """Carries the path of the file that the user chose."""

    def __init__(self) -> None:
        super().__init__()
        self.link = line_edit(_("Invite link"))
        self.link.setPlaceholderText("cotrain://join?…")
        self.link.setMaxLength(64 * 1024)
        self.link_error, self.file_error = error_label(), error_label()
        self.view = button(_("View"), "primary")
        self.browse = button(_("Open an invite file…"))
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.link, 1)
        row.addWidget(self.view)
        caption = label(_("Paste the link that you were given"), "strong")
        caption.setBuddy(self.link)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(caption)
        column.addLayout(row)
        column.addWidget(self.link_error)
        column.addSpacing(16)
        column.addWidget(label(_("Or open the file (.cotrain)"), "strong"))
        column.addWidget(
            label(
                _("Dropping it onto the window does the same. Nothing starts before you agree."),
                "muted",
                wrap=True,
            )
        )
        column.addWidget(self.browse, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.file_error)
        column.addStretch()

    def _connect(self) -> None:
        self.view.clicked.connect(self._paste)
        self.link.returnPressed.connect(self._paste)
        self.link.textChanged.connect(self._on_text)
        self.browse.clicked.connect(self._browse)
        self._on_text("")

    def _on_text(self, text: str) -> None:
        show_error(self.link_error, "")
        self.view.setEnabled(bool(text.strip()))

    def _paste(self) -> None:
        if self.link.text().strip():
            self.pasted.emit(self.link.text())

    def _browse(self) -> None:
        dialog = QFileDialog(self, _("Open an invite file"))
        dialog.setNameFilters([_("Invites (*.cotrain *.json)"), _("All files (*)")])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        # where browsers and mail programs put what one was sent
        place = QStandardPaths.StandardLocation.DownloadLocation
        dialog.setDirectory(QStandardPaths.writableLocation(place))
        dialog.fileSelected.connect(self.opened)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def show_problem(self, error: UserFacingError, *, file: str = "") -> None:
        """Show what is wrong with the invite: below the field, or below the button that opens files
        if it was a file. file: its path."""
        text = error.text
        if error.field in ("link", "invite", file):  # else it is about a field of the spec
            subject = f"“{Path(file).name}”" if file else _("The link")
            text = f"{subject} {error.message} {error.remedy}".rstrip()
        show_error(self.file_error, text if file else "")
        show_error(self.link_error, "" if file else text)
        announce(self.file_error if file else self.link_error)
        if file:
            self.browse.setFocus()
            return
        self.link.setFocus()
        self.link.selectAll()
