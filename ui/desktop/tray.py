"""The tray icon: its picture shows the state, its menu starts, pauses and stops training."""

import sys

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction, QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from app.common.i18n import _
from app.common.plain import one_line, several_lines
from app.state.state import ContributorState, Phase
from ui.models import button_actions
from ui.models.actions import Actions
from ui.models.button_actions import ButtonAction
from ui.models.session_model import SessionModel
from ui.style.icons import app_icon, pixmap
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.texts import states as texts

SIZES = (16, 22, 24, 32, 48, 64)
"""Icon sizes in pixels that trays ask for, at different scales of the screen."""


class Tray(QObject):
    """Visible until `close`, as soon as the desktop has a tray."""

    open_wanted = Signal()
    quit_wanted = Signal()

    def __init__(self, model: SessionModel, actions: Actions, theme: Theme) -> None:
        super().__init__(model)
        self._state = model.state
        self._actions = actions
        self._theme = theme
        self._drawn = ("", "")
        self._icon = QSystemTrayIcon(self)
        self.menu = QMenu()
        self.status = self.menu.addAction("")
        self.menu.addSeparator()
        self.primary, self.secondary = self.menu.addAction(""), self.menu.addAction("")
        self.menu.addSeparator()
        self.open = self.menu.addAction(_("Open the window"))
        self.quit = self.menu.addAction(_("Quit"))
        self._connect(model)
        self.show_state(model.state)
        self._icon.setContextMenu(self.menu)
        self._icon.show()

    def _connect(self, model: SessionModel) -> None:
        self.primary.triggered.connect(lambda: _run(self._primary()))
        self.secondary.triggered.connect(lambda: _run(self._secondary()))
        for entry in (self.status, self.open):
            entry.triggered.connect(self.open_wanted)
        self.quit.triggered.connect(self.quit_wanted)
        self._icon.activated.connect(self._on_activated)
        self._icon.messageClicked.connect(self.open_wanted)
        self._theme.changed.connect(self._draw)
        model.changed.connect(self.show_state)

    @property
    def is_available(self) -> bool:
        """Whether the desktop has a tray."""
        return QSystemTrayIcon.isSystemTrayAvailable()

    def show_state(self, state: ContributorState) -> None:
        """Show a state in the icon and tool tip, and the actions that it allows in the menu."""
        self._state = state
        words = texts.headline(state)
        if words != self.status.text():  # each tool tip goes to the desktop over its bus
            self.status.setText(words)
            set_tool_tip(self._icon, f"{texts.PRODUCT}{texts.DOT}{words}")
        _offer(self.primary, self._primary())
        _offer(self.secondary, self._secondary())
        self._draw()

    def say(self, title: str, text: str) -> None:
        """Show a notification, if the tray can show any."""
        if self.is_available and self._icon.supportsMessages():
            self._icon.showMessage(one_line(title), several_lines(text), app_icon())

    def close(self) -> None:
        """Remove the icon. May be called twice."""
        self._icon.hide()
        self.menu.close()

    def _primary(self) -> ButtonAction:
        return button_actions.primary(self._state, self._actions)

    def _secondary(self) -> ButtonAction | None:
        return button_actions.secondary_in_menu(self._state, self._actions)

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        # on macOS a click opens the menu
        is_click = reason is QSystemTrayIcon.ActivationReason.Trigger
        if is_click and sys.platform != "darwin":
            self.open_wanted.emit()

    def _draw(self) -> None:
        name, role = picture(self._state)
        wanted = (name, str(getattr(self._theme.colors, role)))
        if wanted != self._drawn:
            self._drawn = wanted
            self._icon.setIcon(_icon(*wanted))


def picture(state: ContributorState) -> tuple[str, str]:
    """The name of a state's icon, and the name of its colour in `ui.style.theme.Colors`.

    The shapes differ too, for those who can't tell the colours apart.
    """
    if state.phase is Phase.FAILED and state.restart_at is None:
        return "tray-attention", "danger"
    if texts.tone(state) == "busy":
        return "tray-busy", "caution"
    match state.phase:
        case Phase.TRAINING | Phase.AVERAGING:
            return "tray-training", "accent"
        case Phase.PAUSED | Phase.WAITING:
            return "tray-paused", "swarm"
        case Phase.WATCHING:
            return "tray-watching", "swarm"
        case _:
            return "tray-idle", "swarm"


def _icon(name: str, color: str) -> QIcon:
    made = QIcon()
    for size in SIZES:
        made.addPixmap(pixmap(name, color, size=size))
    return made


def _offer(entry: QAction, action: ButtonAction | None) -> None:
    entry.setVisible(action is not None)
    if action is not None:
        entry.setText(action.text)
        entry.setEnabled(action.enabled)


def _run(action: ButtonAction | None) -> None:
    if action is not None:
        action.run()
