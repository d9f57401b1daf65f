"""The notice that no peer of the swarm can be reached, and when we try again."""

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
    """Visible while no peer can be reached. The app reconnects by itself; a button does so now."""

    def __init__(self, model: SessionModel, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self.setProperty("card", "caution")
        self._state = model.state
        self.words = label(wrap=True)
        self.retry = button(_("Try now"), "quiet")
        self.check = button(_("Check connection…"), "quiet")
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
        self.retry.clicked.connect(lambda: model.call(model.session.swarm.reconnect))
        self.check.clicked.connect(actions.check_wanted)
        self._countdown.timeout.connect(self._say)
        self.hide()

    def show_state(self, state: ContributorState) -> None:
        """Show the notice if the swarm is lost in this state, else hide it."""
        self._state = state
        lost = state.reconnect_at is not None
        if lost:
            self._say()
        if lost == self.isHidden():
            self.setVisible(lost)
            self._countdown.start() if lost else self._countdown.stop()
            if lost:
                self.setAccessibleName(self.words.text())
                announce(self)

    def _say(self) -> None:
        self.words.setText(texts.lost_swarm(self._state))
