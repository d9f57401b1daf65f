"""Opens the dialogs that buttons, menus, dropped invites and second starts of the app ask for."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QMimeData, QObject, Qt
from PySide6.QtWidgets import QDialog, QWidget

from app.lifecycle.handover import Request
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme

if TYPE_CHECKING:
    from ui.dialogs.join.dialog import JoinDialog
    from ui.dialogs.start.dialog import StartDialog

log = logging.getLogger(__name__)

FIRST_STEPS = "first steps"

Kind = TypeVar("Kind", bound=QDialog)


class Dialogs(QObject):
    """The dialogs of a window, at most one of a kind. Each is imported and made when wanted."""

    def __init__(
        self,
        window: QWidget,
        model: SessionModel,
        actions: Actions,
        theme: Theme,
        preferences: Preferences,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._model = model
        self._actions = actions
        self._theme = theme
        self._preferences = preferences
        self._closed = False
        self._shown: dict[str, QDialog] = {}
        actions.join_wanted.connect(self.join)
        actions.start_wanted.connect(self.start)
        actions.share_wanted.connect(self.share)
        actions.members_wanted.connect(self.members)
        actions.leave_wanted.connect(self.leave)
        actions.demo_wanted.connect(lambda train: self.leave(lambda: actions.try_demo(train=train)))
        actions.check_wanted.connect(self.check)
        actions.offers_wanted.connect(self.offers)
        actions.first_steps_wanted.connect(self.first_steps)
        actions.account_wanted.connect(self.account)
        actions.about_wanted.connect(self.about)
        actions.diagnostics_wanted.connect(self.diagnostics)
        actions.export_wanted.connect(self.export)
        actions.achievement_wanted.connect(self.achievement)

    # --- dialogs by kind

    def join(self, source: str = "") -> None:
        """Let the user choose a swarm, or preview an invite's. source: its link or path."""
        if self._closed:
            return
        dialog = self._one_of("join", self._make_join)
        dialog.show_source(source) if source else dialog.choose()

    def _make_join(self) -> "JoinDialog":
        from ui.dialogs.join.dialog import JoinDialog

        made = JoinDialog(self._model, self._theme, self._window)
        made.accepted_spec.connect(
            lambda spec, train: self._actions.join(spec, train=train, trust=made.preview.trusts)
        )
        return made

    def offers(self) -> None:
        """Let the user choose one of the swarms that the backend offers."""
        if not self._closed:
            self._one_of("join", self._make_join).choose_offered()

    def start(self) -> None:
        """Let the user describe a swarm of their own."""
        if not self._closed:
            self._one_of("start", lambda: _start_dialog(self._model, self._actions, self._window))

    def share(self) -> None:
        """Show the invite of the swarm that we are in; without one, do nothing."""
        if self._closed or not self._model.state.peer_id:
            return
        from ui.dialogs.share import ShareDialog

        self._one_of("share", lambda: ShareDialog(self._model, self._window))

    def members(self) -> None:
        """Show who may take part in the closed swarm that we are in; in an open one do nothing."""
        if self._closed or not self._model.state.access.closed:
            return
        from ui.dialogs.members import MembersDialog

        self._one_of("members", lambda: MembersDialog(self._model, self._window))

    def leave(self, act: Callable[[], None] | None = None) -> None:
        """Leave the swarm; where this machine trains, ask first. act: does it, and more."""
        act = act or self._actions.leave
        state = self._model.state
        if self._closed or state.swarm is None or not state.trains_or_will:
            act()
            return
        from ui.dialogs.leave import make_question

        title = state.swarm.title
        self._one_of("leave", lambda: make_question(self._window, title, act))

    def check(self) -> None:
        """Check the connection."""
        if self._closed:
            return
        from ui.dialogs.connection_check import ConnectionCheckDialog

        self._one_of("check", lambda: ConnectionCheckDialog(self._model, self._theme, self._window))

    def first_steps(self) -> None:
        """Lead the user to a first training."""
        if self._closed:
            return
        from ui.dialogs.first_steps import FirstSteps

        self._one_of(
            FIRST_STEPS,
            lambda: FirstSteps(
                self._window, self._model, self._actions, self._theme, self._preferences
            ),
        )

    def account(self) -> None:
        """Show the account at the backend, or let the user sign in."""
        if self._closed:
            return
        from ui.dialogs.account import AccountDialog

        self._one_of("account", lambda: AccountDialog(self._model, self._window))

    def about(self) -> None:
        """Show the version, and the licences of the app's parts."""
        if self._closed:
            return
        from ui.dialogs.about import AboutDialog

        self._one_of("about", lambda: AboutDialog(self._window, self._model, self._theme))

    def diagnostics(self) -> None:
        """Let the user collect diagnostics for a bug report."""
        if self._closed:
            return
        from ui.dialogs.diagnostics import DiagnosticsDialog

        self._one_of("diagnostics", lambda: DiagnosticsDialog(self._window, self._model))

    def export(self) -> None:
        """Let the user take a model out of its run."""
        if self._closed:
            return
        from ui.dialogs.export.dialog import ExportDialog

        self._one_of("export", lambda: ExportDialog(self._model, self._window))

    def achievement(self) -> None:
        """Show what this machine achieved, as a picture to be shared."""
        if self._closed:
            return
        from ui.dialogs.achievement.dialog import AchievementDialog

        self._one_of(
            "achievement", lambda: AchievementDialog(self._model, self._theme, self._window)
        )

    def _one_of(self, kind: str, make: Callable[[], Kind]) -> Kind:
        """The open dialog of a kind, or a new one, in front of the others."""
        if not self._window.isVisible():  # in the tray
            self.come_to_front()
        if kind != FIRST_STEPS and FIRST_STEPS in self._shown:
            self._shown[FIRST_STEPS].reject()  # the user has gone further than the first steps
        if kind not in self._shown:
            made = make()
            made.finished.connect(lambda _result: self._shown.pop(kind).deleteLater())
            self._shown[kind] = made
            made.open()
        dialog = self._shown[kind]
        dialog.raise_()
        dialog.activateWindow()
        return dialog  # type: ignore[return-value]  # `make` of this kind made it

    # --- requests from outside the window

    def receive(self, request: Request) -> None:
        """Handle a second start of the app: come to the front, and preview its invite if any."""
        log.info("a second start of the app handed over: %s", request.invite[:200] or "no invite")
        self.come_to_front(request.activation)
        self._model.session.bindings.give(request.data)
        if request.invite:
            self.join(request.invite)

    def come_to_front(self, activation: str = "") -> None:
        """Show the window above others. activation: Wayland's token that allows this, or ""."""
        if activation:
            os.environ["XDG_ACTIVATION_TOKEN"] = activation  # Qt reads it from here, once
        window = self._window
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.show()
        window.raise_()
        window.activateWindow()

    def close(self) -> None:
        """Close all dialogs, and open no more. May be called twice."""
        self._closed = True
        for dialog in tuple(self._shown.values()):
            dialog.reject()


def _start_dialog(model: SessionModel, actions: Actions, window: QWidget) -> "StartDialog":
    from ui.dialogs.start.dialog import StartDialog

    made = StartDialog(model, window)
    made.accepted_spec.connect(
        lambda spec, train: actions.join(spec, train=train, share=True, organiser=made.organiser)
    )
    return made


def invite_in(dropped: QMimeData) -> str:
    """The path or link of an invite in dragged data, or ""."""
    for url in dropped.urls():
        if url.isLocalFile():
            return url.toLocalFile()
        if url.scheme().lower() == "cotrain":
            return url.toString()
    text = dropped.text().strip() if dropped.hasText() else ""
    return text if text.lower().startswith("cotrain:") else ""
