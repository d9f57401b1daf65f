"""The app outside its window: tray icon, notifications, start at login, closing to the tray."""

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from app.common.i18n import _
from app.common.subscription import Subscription
from app.contributions.ledger import Ledger, LedgerTotals
from app.state.state import ContributorState
from ui.desktop.notifier import Notifier
from ui.desktop.tray import Tray
from ui.main_window import MainWindow
from ui.models.actions import Actions
from ui.models.paced_reader import PacedReader
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.texts.news import News, milestone, news

TOLD_OF_TRAY = "tray"
"""Marks in the data folder that the user was told once that the app stays in the tray."""


class DesktopPresence(QObject):
    """Owns the tray and the notifications, and decides what closing the window means.

    Closing the window quits the app, unless the user chose to keep it in the tray and there is one.
    """

    def __init__(
        self,
        window: MainWindow,
        model: SessionModel,
        preferences: Preferences,
        tray: Tray,
        notifier: Notifier,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._model = model
        self._preferences = preferences
        self._before = model.state
        self._totals: LedgerTotals | None = None
        self._milestones = PacedReader(model, self._look_for_milestone)
        self._ledger_changes = self._alerts = Subscription()
        self.tray = tray
        self.notifier = notifier
        tray.open_wanted.connect(window.dialogs.come_to_front)
        tray.quit_wanted.connect(window.quit_wanted)
        window.close_wanted.connect(self._on_close_wanted)
        self._watching = model.changed.connect(self._on_state)

    @classmethod
    def of(
        cls,
        window: MainWindow,
        model: SessionModel,
        actions: Actions,
        theme: Theme,
        preferences: Preferences,
    ) -> "DesktopPresence":
        """Create it with a tray icon and a notifier of its own."""
        tray = Tray(model, actions, theme)
        notifier = Notifier(tray, clicked=window.dialogs.come_to_front)
        return cls(window, model, preferences, tray, notifier)

    async def open(self) -> None:
        """Watch for milestones, and repair the start at login. The session must be open."""
        await self._preferences.repair()
        contributions = self._model.session.contributions
        self._totals = await contributions.ledger.run(Ledger.totals)
        self._ledger_changes = contributions.ledger.subscribe(self._milestones.want)
        self._alerts = self._model.session.alerts.subscribe(
            lambda found: self._tell(News(kind="attention", title=found.title, text=found.text))
        )

    async def close(self) -> None:
        """Remove the tray icon and send no more notifications. May be called twice."""
        self._ledger_changes.close()
        self._milestones.close()
        self._alerts.close()
        QObject.disconnect(self._watching)
        self.tray.close()
        await self.notifier.close()

    # --- news

    def _on_state(self, state: ContributorState) -> None:
        before, self._before = self._before, state
        self._tell(news(before, state))

    async def _look_for_milestone(self) -> None:
        before = self._totals
        self._totals = await self._model.session.contributions.ledger.run(Ledger.totals)
        if before is not None:
            self._tell(milestone(before, self._totals))

    def _tell(self, found: News | None) -> None:
        """Notify, unless the user switched this kind off or is looking at the window."""
        if found is None or found.kind not in self._preferences.value("notifications"):
            return
        # in an X11 tray our icon is a window too, and may be the active one
        looked_at = self._window.isVisible() and QApplication.activeWindow() is not None
        if not looked_at:
            self._model.run(self._show(found.title, found.text))

    async def _show(self, title: str, text: str) -> None:
        await self.notifier.show(title, text)

    # --- the window

    def _on_close_wanted(self) -> None:
        if not (self._preferences.value("close_to_tray") and self.tray.is_available):
            self._window.quit_wanted.emit()
            return
        self._window.hide()
        if self._model.session.folders.first_time(TOLD_OF_TRAY):
            self._model.run(
                self._show(
                    _("CoTrain is still running"),
                    _("You find it in the tray. To end it, choose Quit in its menu."),
                )
            )
