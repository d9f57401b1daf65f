"""The headline: where we are in one sentence, and the one button that changes it."""

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout

from app.common.i18n import _
from app.state.state import ContributorState
from ui.models import choices
from ui.models.actions import Actions
from ui.models.choices import Choice
from ui.texts import states as texts
from ui.widgets.buttons import SteadyButton, button
from ui.widgets.card import Card
from ui.widgets.forms.devices import DeviceBox
from ui.widgets.labels import ElidedLabel, label, restyle

BUTTON_HEIGHT = 40
COUNTDOWN_MS = 500


class Headline(Card):
    """State, reason and buttons."""

    def __init__(self, state: ContributorState, actions: Actions) -> None:
        super().__init__(_("State"))
        self._state = state
        self._actions = actions
        self._waiting = False
        self._closing = False
        self.dot = label(role="dot")
        self.title = label(role="title")
        self.what = ElidedLabel()
        self.why = label(role="muted", wrap=True)
        self.terms = button(_("Change terms"), "quiet")
        self.primary, self.second = SteadyButton(), SteadyButton()
        self.snooze = SteadyButton()
        self.device_label = label(_("Train on"), "muted")
        self.device = DeviceBox()
        self._countdown = QTimer(self, interval=COUNTDOWN_MS)
        self._lay_out()
        self._connect()
        self.show_state(state)

    def _lay_out(self) -> None:
        self.dot.setFixedSize(14, 14)
        row = QHBoxLayout()
        row.setSpacing(24)
        row.addLayout(self._words(), 1)
        row.addLayout(self._controls())
        self.column.setContentsMargins(20, 16, 20, 16)
        self.column.addLayout(row)

    def _words(self) -> QVBoxLayout:
        first = QHBoxLayout()
        first.setSpacing(12)
        first.addWidget(self.dot)
        first.addWidget(self.title, 1)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addLayout(first)
        words.addWidget(self.what)
        words.addWidget(self.why)
        words.addStretch()
        return words

    def _controls(self) -> QVBoxLayout:
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch()
        for one in (self.snooze, self.second, self.primary):
            one.setMinimumHeight(BUTTON_HEIGHT)
            one.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
            buttons.addWidget(one)
        device = QHBoxLayout()
        device.setSpacing(8)
        device.addStretch()
        device.addWidget(self.terms)
        device.addWidget(self.device_label)
        device.addWidget(self.device)
        self.device_label.setBuddy(self.device)
        controls = QVBoxLayout()
        controls.setSpacing(12)
        controls.addLayout(buttons)
        controls.addLayout(device)
        return controls

    def _connect(self) -> None:
        self.primary.clicked.connect(lambda: self._primary().act())
        self.second.clicked.connect(self._act_second)
        self.snooze.clicked.connect(self._act_snooze)
        self.terms.clicked.connect(self._actions.terms_wanted)
        self.device.chosen.connect(self._actions.choose_device)
        self._actions.waiting.connect(self._show_waiting)
        self._countdown.timeout.connect(lambda: self.why.setText(texts.why(self._state)))

    def _primary(self) -> Choice:
        return choices.primary(self._state, self._actions)

    def _act_second(self) -> None:
        choice = choices.second(self._state, self._actions)
        if choice is not None:
            choice.act()

    def _act_snooze(self) -> None:
        choice = choices.snooze(self._state, self._actions)
        if choice is not None:
            choice.act()

    def show_state(self, state: ContributorState) -> None:
        """Show a state in words and buttons."""
        if self._closing:
            return
        self._state = state
        self.title.setText(texts.headline(state))
        self.what.set_full(texts.what(state))
        self.why.setText(texts.why(state))
        restyle(self.dot, "tone", texts.tone(state))
        self._count_down(on=state.restart_at is not None or state.paused_until is not None)
        self._show(self.primary, self._primary())
        self._show(self.second, choices.second(state, self._actions))
        self._show(self.snooze, choices.snooze(state, self._actions))
        self.terms.setVisible(state.trains_or_will)
        self.device.show_state(state)
        if self._waiting:
            self._say_waiting()

    def _count_down(self, *, on: bool) -> None:
        if on != self._countdown.isActive():
            self._countdown.start() if on else self._countdown.stop()

    def _show(self, button: SteadyButton, choice: Choice | None) -> None:
        button.setVisible(choice is not None)
        if choice is not None:
            button.setText(choice.word)
            button.setEnabled(choice.enabled and not self._waiting)
            restyle(button, "kind", choice.kind)

    def _show_waiting(self, waiting: bool) -> None:
        self._waiting = waiting
        self.show_state(self._state)

    def _say_waiting(self) -> None:
        restyle(self.dot, "tone", "busy")
        self.why.setText(_("Getting ready: PyTorch and Hivemind take some seconds to load…"))

    def show_closing(self) -> None:
        """The app is about to end; nothing can be clicked any more."""
        self._closing = True
        self._countdown.stop()
        self.title.setText(_("Closing…"))
        self.why.setText(_("Saving a checkpoint and leaving the swarm. The window then closes."))
        restyle(self.dot, "tone", "busy")
        for control in (self.primary, self.second, self.snooze, self.terms, self.device):
            control.setEnabled(False)
