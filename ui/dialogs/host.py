"""Opens the dialogs that buttons, drops and second starts ask for, one of a kind at a time."""

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
    from ui.dialogs.start import StartDialog

log = logging.getLogger(__name__)

FIRST_STEPS = "first steps"

Kind = TypeVar("Kind", bound=QDialog)


class Dialogs(QObject):
    """The dialogs of a window, made when they are wanted: the first picture needs none."""

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
        actions.check_wanted.connect(self.check)
        actions.offers_wanted.connect(self.offers)
        actions.first_steps_wanted.connect(self.first_steps)
        actions.account_wanted.connect(self.account)
        actions.about_wanted.connect(self.about)
        actions.diagnostics_wanted.connect(self.diagnostics)

    # --- what is asked for

    def join(self, source: str = "") -> None:
        """Let the user choose a swarm, or preview the one of an invite."""
        if self._closed:
            return
        dialog = self._one_of("join", self._make_join)
        dialog.show_source(source) if source else dialog.choose()

    def _make_join(self) -> "JoinDialog":
        from ui.dialogs.join.dialog import JoinDialog

        made = JoinDialog(self._model, self._theme, self._window)
        made.accepted_spec.connect(lambda spec, train: self._actions.join(spec, train=train))
        return made

    def offers(self) -> None:
        """Let the user choose among the swarms that the backend offers."""
        if not self._closed:
            self._one_of("join", self._make_join).choose_offered()

    def start(self) -> None:
        """Let the user describe a swarm of their own."""
        if not self._closed:
            self._one_of("start", self._make_start)

    def _make_start(self) -> "StartDialog":
        from ui.dialogs.start import StartDialog

        made = StartDialog(self._model, self._window)
        made.accepted_spec.connect(
            lambda spec, train: self._actions.join(spec, train=train, share=True)
        )
        return made

    def share(self) -> None:
        """Show the invite of the swarm that we are in."""
        if self._closed or not self._model.state.peer_id:
            return
        from ui.dialogs.share import ShareDialog

        self._one_of("share", lambda: ShareDialog(self._model, self._window))

    def check(self) -> None:
        """Look why we are not connected."""
        if self._closed:
            return
        from ui.dialogs.check import CheckDialog

        self._one_of("check", lambda: CheckDialog(self._model, self._theme, self._window))

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
        """Show which build this is, and whose work is in it."""
        if self._closed:
            return
        from ui.dialogs.about import AboutDialog

        self._one_of("about", lambda: AboutDialog(self._window, self._model, self._theme))

    def diagnostics(self) -> None:
        """Collect what a report of a fault needs."""
        if self._closed:
            return
        from ui.dialogs.diagnostics import DiagnosticsDialog

        self._one_of("diagnostics", lambda: DiagnosticsDialog(self._window, self._model))

    def _one_of(self, kind: str, make: Callable[[], Kind]) -> Kind:
        """The dialog of a kind that is open, or a new one."""
        if not self._window.isVisible():  # in the tray
            self.come_to_front()
        if kind != FIRST_STEPS and FIRST_STEPS in self._shown:
            self._shown[FIRST_STEPS].reject()  # they are on their way
        if kind not in self._shown:
            made = make()
            made.finished.connect(lambda _result: self._forget(kind))
            self._shown[kind] = made
            made.open()
        dialog = self._shown[kind]
        dialog.raise_()
        dialog.activateWindow()
        return dialog  # type: ignore[return-value]  # what `make` of this kind made

    def _forget(self, kind: str) -> None:
        self._shown.pop(kind).deleteLater()

    # --- what comes from outside

    def receive(self, request: Request) -> None:
        """A second start: come to the front, and preview the invite that it was given."""
        log.info("a second start handed over: %s", request.invite[:200] or "nothing but itself")
        self.come_to_front(request.activation)
        if request.invite:
            self.join(request.invite)

    def come_to_front(self, activation: str = "") -> None:
        """Show the window above others. activation: what a Wayland desktop gave for that."""
        if activation:
            os.environ["XDG_ACTIVATION_TOKEN"] = activation  # Qt takes it from here, once
        window = self._window
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
        window.show()
        window.raise_()
        window.activateWindow()

    def close(self) -> None:
        """Close what is open, and open nothing more. May be called twice."""
        self._closed = True
        for dialog in tuple(self._shown.values()):
            dialog.reject()


def invite_in(dropped: QMimeData) -> str:
    """The file or link that something dragged over the window holds, or ""."""
    for url in dropped.urls():
        if url.isLocalFile():
            return url.toLocalFile()
        if url.scheme().lower() == "cotrain":
            return url.toString()
    text = dropped.text().strip() if dropped.hasText() else ""
    return text if text.lower().startswith("cotrain:") else ""
