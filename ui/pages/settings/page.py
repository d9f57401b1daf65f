"""The settings page: a card for each section of settings, and one with the app's folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
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
from ui.widgets.forms.fields import line_edit
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
        self.search = line_edit(_("Search the settings"))
        self.advanced = QCheckBox(_("Advanced"))
        self._sections = sections(has_tray=QSystemTrayIcon.isSystemTrayAvailable())
        page = QWidget()
        self._column = _column(page, self._head())
        self.terms = terms
        self._column.addWidget(terms)
        for section in self._sections:
            self._add_section(section)
        self._add_below(_("Local API"), self.local_api)
        self._folders = _folders_card(folders)
        self.nothing = label(_("No setting has these words."), "muted")
        self._column.addWidget(self._folders)
        self._column.addWidget(self.nothing)
        self._column.addStretch()
        self.search.textChanged.connect(self._find)
        self.advanced.toggled.connect(self._find)
        self._find()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it scrolls to the focused field by itself

    def _head(self) -> QHBoxLayout:
        self.search.setPlaceholderText(_("Search the settings"))
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(320)
        row = QHBoxLayout()
        row.setSpacing(16)
        row.addWidget(label(_("Settings"), "page"))
        row.addStretch()
        row.addWidget(self.search, 1)
        row.addWidget(self.advanced)
        return row

    def _find(self) -> None:
        """Show what has the words that are searched for; without any, the advanced sections only
        if they are wanted."""
        words = self.search.text().casefold().split()
        found = self.terms.look_for(words)
        for section in self._sections:
            form = self.forms[section.title]
            has_rows = form.look_for(words, under=section.title)
            wanted = bool(words) or self.advanced.isChecked() or not section.advanced
            self._card_of(section.title).setVisible(has_rows and wanted)
            found = found or (has_rows and wanted)
        self._folders.setVisible(not words)
        self.nothing.setVisible(not found)

    def _card_of(self, title: str) -> Card:
        card = self.forms[title].parentWidget()
        assert isinstance(card, Card)
        return card

    def _add_section(self, section: SettingsSection) -> None:
        form = SettingsForm(section.rows, self._preferences)
        self.forms[section.title] = form
        card = titled_card(section.title)
        card.column.addWidget(form)
        self._column.addWidget(card)

    def _add_below(self, title: str, control: QPushButton) -> None:
        self._card_of(title).column.addWidget(control, 0, Qt.AlignmentFlag.AlignLeft)


def _column(page: QWidget, head: QHBoxLayout) -> QVBoxLayout:
    page.setObjectName("page")
    column = QVBoxLayout(page)
    column.setContentsMargins(24, 20, 24, 24)
    column.setSpacing(16)
    column.addLayout(head)
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
