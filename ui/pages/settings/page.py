"""The settings page: a card for each section of settings, and one with the app's folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QPushButton,
    QScrollArea,
    QSystemTrayIcon,
    QVBoxLayout,
    QWidget,
)

from app.common.i18n import _
from app.common.paths import Folders
from ui.models.actions import open_folder
from ui.models.preferences import Preferences
from ui.pages.settings.terms import TermsSection
from ui.widgets.buttons import button
from ui.widgets.card import Card, titled_card
from ui.widgets.forms.settings_form import SettingsForm
from ui.widgets.forms.settings_rows import SettingsSection, sections
from ui.widgets.labels import ElidedLabel, label


class SettingsPage(QScrollArea):
    """All settings; a change is in force at once.

    Args:
        preferences: reads and saves the settings.
        folders: shown on the last card.
        terms: shown first.
        open_local_api: opens the dialog with the local API's address and tokens.
    """

    def __init__(
        self,
        preferences: Preferences,
        folders: Folders,
        *,
        terms: TermsSection,
        open_local_api: Callable[[], None],
    ) -> None:
        super().__init__()
        self._preferences = preferences
        self.forms: dict[str, SettingsForm] = {}
        self.local_api = button(_("Address, tokens and tasks…"))
        self.local_api.clicked.connect(open_local_api)
        page = QWidget()
        self._column = _column(page)
        self.terms = terms
        self._column.addWidget(terms)
        for section in sections(has_tray=QSystemTrayIcon.isSystemTrayAvailable()):
            self._add_section(section)
        self._add_below(_("Local API"), self.local_api)
        self._column.addWidget(_folders_card(folders))
        self._column.addStretch()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it scrolls to the focused field by itself

    def _add_section(self, section: SettingsSection) -> None:
        form = SettingsForm(section.rows, self._preferences)
        self.forms[section.title] = form
        card = titled_card(section.title)
        card.column.addWidget(form)
        self._column.addWidget(card)

    def _add_below(self, title: str, control: QPushButton) -> None:
        card = self.forms[title].parentWidget()
        assert isinstance(card, Card)
        card.column.addWidget(control, 0, Qt.AlignmentFlag.AlignLeft)


def _column(page: QWidget) -> QVBoxLayout:
    page.setObjectName("page")
    column = QVBoxLayout(page)
    column.setContentsMargins(24, 20, 24, 24)
    column.setSpacing(16)
    column.addWidget(label(_("Settings"), "page"))
    return column


def _folders_card(folders: Folders) -> Card:
    card = titled_card(_("Folders"))
    grid = QGridLayout()
    grid.setColumnStretch(1, 1)
    grid.setHorizontalSpacing(16)
    for row, (name, path) in enumerate(_places(folders).items()):
        opens = button(_("Open"))
        opens.setAccessibleName(_("Open: {name}").format(name=name))
        opens.clicked.connect(lambda _checked, path=path: open_folder(path))
        grid.addWidget(label(name), row, 0)
        grid.addWidget(ElidedLabel(str(path), "muted"), row, 1)
        grid.addWidget(opens, row, 2)
    card.column.addLayout(grid)
    return card


def _places(folders: Folders) -> Mapping[str, Path]:
    return {
        _("Settings, keys, ledger, checkpoints"): folders.data,
        _("Logs"): folders.logs,
        _("Downloaded training data"): folders.cache,
    }
