"""The dialog with the app's version, and the licences of the parts that it is made of."""

import asyncio

from PySide6.QtCore import QSize
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget
from shiboken6 import isValid

from app import __version__
from app.common.i18n import _
from app.desktop import about
from app.desktop.about import About, Component
from ui.dialogs.dialog import Dialog
from ui.models.rows_model import Column, RowsModel
from ui.models.session_model import SessionModel
from ui.style.icons import app_icon
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.buttons import button
from ui.widgets.labels import label
from ui.widgets.table import table

WIDTH = 720
ICON = 56
TABLE_HEIGHT, TEXT_HEIGHT = 120, 80
"""Pixels at least; at twice the scale, a screen has few."""


class AboutDialog(Dialog):
    """Version and parts. A thread loads the parts: their licences are a megabyte of text."""

    def __init__(self, window: QWidget, model: SessionModel, theme: Theme) -> None:
        super().__init__(window, _("About CoTrain Contributor"), width=WIDTH)
        self.build = label(_("Version {version}").format(version=__version__), "muted")
        self.column.addLayout(self._heading())
        self.parts = RowsModel(_columns(), identity=lambda part: part.name, parent=self)
        self.table = table(self.parts, theme, name=_("Parts"), stretched=2)
        self.table.setMinimumHeight(TABLE_HEIGHT)
        self.table.selectionModel().currentRowChanged.connect(
            lambda new, _old: self._show(new.row())
        )
        self.licence = QPlainTextEdit(readOnly=True)
        self.licence.setAccessibleName(_("Text of the licence"))
        self.licence.setMinimumHeight(TEXT_HEIGHT)
        self.licence.setTabChangesFocus(True)
        self.column.addWidget(
            label(_("It is built from these parts, with thanks to their authors:"), "strong")
        )
        self.column.addWidget(self.table)
        self.column.addWidget(self.licence)
        self._add_closing()
        model.run(self._fill())

    def _heading(self) -> QHBoxLayout:
        picture = label()
        picture.setPixmap(app_icon().pixmap(QSize(ICON, ICON)))
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(label(f"{texts.PRODUCT} {texts.PRODUCT_KIND}", "title"))
        words.addWidget(self.build)
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(picture)
        row.addLayout(words, 1)
        return row

    def _add_closing(self) -> None:
        self.copy, closing = button(_("Copy version")), button(_("Close"))
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.build.text()))
        closing.clicked.connect(self.accept)
        self.add_buttons(self.copy, closing)
        closing.setFocus()

    async def _fill(self) -> None:
        found = await asyncio.to_thread(about.load)
        if not isValid(self):  # the user may have closed it meanwhile
            return
        self.build.setText(_build(found))
        self.parts.show_rows(found.parts)
        place = self.parts.row_of(about.DISTRIBUTION)
        self.table.selectRow(place or 0)

    def _show(self, row: int) -> None:
        part = self.parts.shown[row]
        self.licence.setPlainText(part.text or _("It came without the text of its licence."))


def _build(found: About) -> str:
    version = _("Version {version}").format(version=found.version)
    return f"{version} · {found.commit}" if found.commit else version


def _columns() -> tuple[Column[Component], ...]:
    return (
        Column(
            title=_("Part"),
            text=lambda part: part.name,
            key=lambda part: part.name.lower(),
            sample="opentelemetry-api",
        ),
        Column(
            title=_("Version"),
            text=lambda part: part.version,
            key=lambda part: part.version,
            sample="2026.11.19+dfsg-1",
        ),
        Column(
            title=_("Licence"),
            text=lambda part: part.licence or "–",
            key=lambda part: part.licence.lower() or None,
            sample="Apache-2.0 AND MIT",
        ),
    )
