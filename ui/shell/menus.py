"""The menu bar: all actions of the window, with their shortcuts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from app.common.i18n import LANGUAGES, _
from app.state.state import ContributorState, Phase
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.shell.sidebar import Page
from ui.style import theme


class Menus(QObject):
    """Fills the window's menu bar; the window owns it."""

    def __init__(
        self,
        window: QMainWindow,
        actions: Actions,
        preferences: Preferences,
        pages: Sequence[Page],
        *,
        open_page: Callable[[int], None],
        open_local_api: Callable[[], None],
        quit_app: Callable[[], None],
    ) -> None:
        super().__init__(window)
        self._window = window
        self._swarm_menu(actions, quit_app)
        view = window.menuBar().addMenu(_("&View"))
        for index, page in enumerate(pages):
            entry = self._add(view, page.title, partial(open_page, index))
            entry.setShortcut(QKeySequence(f"Ctrl+{index + 1}"))
        view.addSeparator()
        _theme_menu(view.addMenu(_("&Theme")), preferences)
        _language_menu(view.addMenu(_("&Language")), preferences)
        helps = window.menuBar().addMenu(_("&Help"))
        self._add(helps, _("&First steps…"), actions.first_steps_wanted.emit)
        self._add(helps, _("Local A&PI…"), open_local_api)
        self._add(helps, _("Open &log folder"), actions.open_log_folder)
        self._add(helps, _("Collect &diagnostics…"), actions.diagnostics_wanted.emit)
        helps.addSeparator()
        about = self._add(helps, _("&About CoTrain Contributor"), actions.about_wanted.emit)
        about.setMenuRole(QAction.MenuRole.AboutRole)

    def _swarm_menu(self, actions: Actions, quit_app: Callable[[], None]) -> None:
        menu = self._window.menuBar().addMenu(_("&Swarm"))
        joins = self._add(menu, _("&Join a swarm…"), lambda: actions.join_wanted.emit(""))
        joins.setShortcut(QKeySequence(QKeySequence.StandardKey.Open))
        starts = self._add(menu, _("&Start a swarm…"), actions.start_wanted.emit)
        starts.setShortcut(QKeySequence(QKeySequence.StandardKey.New))
        self._add(menu, _("Try the &demo swarm"), lambda: actions.demo_wanted.emit(False))
        menu.addSeparator()
        self.share = self._add(menu, _("&Invite others…"), actions.share_wanted.emit)
        self.share.setShortcut(QKeySequence("Ctrl+I"))
        self.leave = self._add(menu, _("&Leave the swarm"), actions.leave_wanted.emit)
        menu.addSeparator()
        self._add(menu, _("&Export the model…"), actions.export_wanted.emit)
        self._add(menu, _("&Account…"), actions.account_wanted.emit)
        menu.addSeparator()
        ends = self._add(menu, _("&Quit"), quit_app)
        ends.setShortcut(QKeySequence("Ctrl+Q"))
        ends.setMenuRole(QAction.MenuRole.QuitRole)

    def _add(self, menu: QMenu, text: str, act: Callable[[], object]) -> QAction:
        entry = menu.addAction(text)
        entry.triggered.connect(lambda _checked: act())
        return entry

    def show_state(self, state: ContributorState) -> None:
        """Disable the entries that make no sense in this state."""
        self.leave.setEnabled(state.phase is not Phase.DISCONNECTED)
        self.share.setEnabled(bool(state.peer_id))


def _theme_menu(menu: QMenu, preferences: Preferences) -> None:
    _exclusive(menu, theme.theme_labels(), "theme", preferences)


def _language_menu(menu: QMenu, preferences: Preferences) -> None:
    words = {"system": _("Like the system"), **LANGUAGES}
    _exclusive(menu, words, "language", preferences)
    menu.addSeparator()
    menu.addAction(_("Takes effect at the next start")).setEnabled(False)


def _exclusive(menu: QMenu, words: Mapping[str, str], name: str, preferences: Preferences) -> None:
    """Add an entry for each value of a setting; the value in force is checked."""
    group = QActionGroup(menu)
    for key, text in words.items():
        entry = group.addAction(menu.addAction(text))
        entry.setCheckable(True)
        entry.setData(key)
        entry.triggered.connect(lambda _checked, key=key: preferences.change(name, key))
    menu.aboutToShow.connect(lambda: _check(group, preferences.value(name)))
    _check(group, preferences.value(name))


def _check(group: QActionGroup, value: str) -> None:
    for entry in group.actions():
        entry.setChecked(entry.data() == value)
