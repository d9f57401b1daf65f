"""What the desktop sees of the app beside its window: tray, notifications, start at login."""

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
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.texts.news import News, milestone, news

TOLD_OF_TRAY = "tray"


class DesktopPresence(QObject):
    """Owns the tray and the notifications from `open` to `close`, and decides what closing the
    window means: the app's end, or the tray, if the user chose that and there is one."""

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
        self._ledger_changes = Subscription()
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
        """On this desktop."""
        tray = Tray(model, actions, theme)
        notifier = Notifier(tray, clicked=window.dialogs.come_to_front)
        return cls(window, model, preferences, tray, notifier)

    async def open(self) -> None:
        """Begin to look for milestones, and see to the start at login. The session is open."""
        await self._preferences.repair()
        contributions = self._model.session.contributions
        self._totals = await contributions.ledger.run(Ledger.totals)
        self._ledger_changes = contributions.ledger.subscribe(
            lambda: self._model.run(self._look_for_milestone())
        )

    async def close(self) -> None:
        """Take everything away. May be called twice."""
        self._ledger_changes.close()
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
        """Unless nobody wants to hear it, or who looks at the window sees it anyway."""
        if found is None or found.kind not in self._preferences.value("notifications"):
            return
        # an icon in an X11 tray is a window of ours as well, and may be the active one
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
                    _("You find it in the tray. Quit in its menu ends it."),
                )
            )
