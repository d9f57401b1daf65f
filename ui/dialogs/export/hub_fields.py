"""Where on a model hub to upload to, who may see it, and as whom."""

from pathlib import Path

from PySide6.QtWidgets import QCheckBox, QLineEdit, QVBoxLayout, QWidget

from app.commands.export import REPOSITORY
from app.common.errors import ExportError
from app.common.i18n import _
from app.takeout.messages import Upload
from ui.widgets.forms.fields import Field, line_edit


class HubFields(QWidget):
    """The part of the export dialog for an upload."""

    def __init__(self) -> None:
        super().__init__()
        hidden = line_edit()
        hidden.setEchoMode(QLineEdit.EchoMode.Password)
        self.repository = Field(
            _("Repository"), line_edit(), _("OWNER/NAME; it is made if it doesn't exist.")
        )
        self.token = Field(
            _("Access token"),
            hidden,
            _(
                "With the right to write, from huggingface.co/settings/tokens. Left empty, your"
                " sign-in on this machine is used. It isn't kept."
            ),
        )
        self.public = QCheckBox(_("Everybody may see it"))
        self.overwrite = QCheckBox(_("Also if the repository holds something else"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        for part in (self.repository, self.token, self.public, self.overwrite):
            column.addWidget(part)

    def check(self) -> bool:
        """Whether the repository's name is one; marks it if not."""
        wrong = not REPOSITORY.fullmatch(self.repository.value.strip())
        error = ExportError(_("this is no OWNER/NAME.")) if wrong else None
        self.repository.show_problem(error)
        return not wrong

    def order(self, folder: Path) -> Upload:
        """The order to upload a folder."""
        return Upload(
            folder=str(folder),
            repository=self.repository.value.strip(),
            public=self.public.isChecked(),
            overwrite=self.overwrite.isChecked(),
            token=self.token.value.strip(),
        )
