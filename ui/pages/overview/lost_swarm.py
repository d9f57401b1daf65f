"""The notice that the swarm can't be reached, and when we try again."""

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QFrame, QHBoxLayout

from app.common.i18n import _
from app.state.state import ContributorState
from ui.models.actions import Actions
from ui.models.session_model import SessionModel
from ui.style.icons import ThemedPicture
from ui.style.theme import Theme
from ui.texts import states as texts
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.labels import label

COUNTDOWN_MS = 500


class LostSwarmNotice(QFrame):
    """Visible while the swarm that we are in, or go back to at the start, can't be reached.

    The app tries again by itself; a button does so now.
    """

    def __init__(self, model: SessionModel, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self.setProperty("card", "caution")
        self._state = model.state
        self._session = model.session
        self.words = label(wrap=True)
        self.retry = button(_("Try now"), "quiet")
        self.check = button(_("Check connection…"), "quiet")
        self.give_up = button(_("Don't go back"), "quiet")
        self._countdown = QTimer(self, interval=COUNTDOWN_MS)
        picture = label()
        ThemedPicture(picture, "warning", theme, color="caution")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 10, 8, 10)
        row.setSpacing(12)
        row.addWidget(picture)
        row.addWidget(self.words, 1)
        row.addWidget(self.retry)
        row.addWidget(self.check)
        row.addWidget(self.give_up)
        self.retry.clicked.connect(lambda: model.call(self._try_now))
        self.give_up.clicked.connect(lambda: model.call(self._session.way_back.give_up))
        self.check.clicked.connect(actions.check_wanted)
        self._countdown.timeout.connect(self._say)
        self.hide()

    def show_state(self, state: ContributorState) -> None:
        """Show the notice if the swarm is out of reach in this state, else hide it."""
        self._state = state
        returning = state.returning
        waits_to_return = returning is not None and returning.retry_at is not None
        lost = state.reconnect_at is not None or waits_to_return
        self.give_up.setVisible(waits_to_return)
        if lost:
            self._say()
        if lost == self.isHidden():
            self.setVisible(lost)
            self._countdown.start() if lost else self._countdown.stop()
            if lost:
                self.setAccessibleName(self.words.text())
                announce(self)

    def _try_now(self) -> None:
        if self._state.returning is not None:
            self._session.way_back.hurry()
        else:
            self._session.swarm.reconnect()

    def _say(self) -> None:
        self.words.setText(texts.lost_swarm(self._state))
