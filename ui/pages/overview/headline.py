"""The headline card: the state, its explanation, and the buttons that change it."""

import time

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout

from app.common.i18n import _
from app.state.state import ContributorState, Phase
from ui.models import button_actions
from ui.models.actions import Actions
from ui.models.button_actions import ButtonAction
from ui.texts import preparation
from ui.texts import states as texts
from ui.widgets.buttons import SteadyButton, button
from ui.widgets.card import Card
from ui.widgets.forms.device_box import DeviceBox
from ui.widgets.labels import ElidedLabel, label, restyle

BUTTON_HEIGHT = 40
COUNTDOWN_MS = 500

LONG_SECONDS = 5.0
"""From then on it is said how long the preparation has taken."""


class Headline(Card):
    """The state in words, up to three buttons, and the device to train on."""

    def __init__(self, state: ContributorState, actions: Actions) -> None:
        super().__init__(_("State"))
        self._state = state
        self._actions = actions
        self._waiting = False
        self._closing = False
        self._prepares_since: float | None = None  # monotonic
        self.dot = label(role="dot")
        self.title = label(role="title")
        self.task = ElidedLabel()
        self.explanation = label(role="muted", wrap=True)
        self.terms = button(_("Change terms"), "quiet")
        self.primary, self.secondary = SteadyButton(), SteadyButton()
        self.snooze = SteadyButton()
        self.device_label = label(_("Train on"), "muted")
        self.device = DeviceBox()
        self._countdown = QTimer(self, interval=COUNTDOWN_MS)
        self._lay_out()
        self._connect()
        self.show_state(state)

    def _lay_out(self) -> None:
        self.dot.setFixedSize(14, 14)
        # a closed swarm's code is copied from it
        self.explanation.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
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
        words.addWidget(self.task)
        words.addWidget(self.explanation)
        words.addStretch()
        return words

    def _controls(self) -> QVBoxLayout:
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch()
        for one in (self.snooze, self.secondary, self.primary):
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
        self.primary.clicked.connect(lambda: self._primary().run())
        self.secondary.clicked.connect(self._run_secondary)
        self.snooze.clicked.connect(self._run_snooze)
        self.terms.clicked.connect(self._actions.terms_wanted)
        self.device.chosen.connect(self._actions.choose_device)
        self._actions.waiting.connect(self._show_waiting)
        self._countdown.timeout.connect(self._explain)

    def _primary(self) -> ButtonAction:
        return button_actions.primary(self._state, self._actions)

    def _run_secondary(self) -> None:
        action = button_actions.secondary(self._state, self._actions)
        if action is not None:
            action.run()

    def _run_snooze(self) -> None:
        action = button_actions.snooze(self._state, self._actions)
        if action is not None:
            action.run()

    def show_state(self, state: ContributorState) -> None:
        """Show a state, and the buttons for the actions that it allows."""
        if self._closing:
            return
        self._state = state
        self.title.setText(texts.headline(state))
        self.task.set_full(texts.task_line(state))
        prepares = state.phase is Phase.PREPARING and state.may_train
        if not prepares:
            self._prepares_since = None
        elif self._prepares_since is None:
            self._prepares_since = time.monotonic()
        self._explain()
        restyle(self.dot, "tone", texts.tone(state))
        is_timed = state.restart_at is not None or state.paused_until is not None
        self._count_down(on=is_timed or prepares)
        self._show(self.primary, self._primary())
        self._show(self.secondary, button_actions.secondary(state, self._actions))
        self._show(self.snooze, button_actions.snooze(state, self._actions))
        self.terms.setVisible(state.trains_or_will)
        self.device.show_state(state)
        if self._waiting:
            self._say_waiting()

    def _explain(self) -> None:
        text = texts.explanation(self._state)
        if self._prepares_since is not None:
            passed = time.monotonic() - self._prepares_since
            text = preparation.so_far(text, passed) if passed >= LONG_SECONDS else text
        self.explanation.setText(text)

    def _count_down(self, *, on: bool) -> None:
        if on != self._countdown.isActive():
            self._countdown.start() if on else self._countdown.stop()

    def _show(self, button: SteadyButton, action: ButtonAction | None) -> None:
        button.setVisible(action is not None)
        if action is not None:
            button.setText(action.text)
            button.setEnabled(action.enabled and not self._waiting)
            restyle(button, "kind", action.kind)

    def _show_waiting(self, waiting: bool) -> None:
        self._waiting = waiting
        self.show_state(self._state)

    def _say_waiting(self) -> None:
        restyle(self.dot, "tone", "busy")
        self.explanation.setText(
            _("Getting ready: the training software takes some seconds to load…")
        )

    def show_closing(self) -> None:
        """Say that the app is closing, and disable all controls."""
        self._closing = True
        self._countdown.stop()
        self.title.setText(_("Closing…"))
        self.explanation.setText(
            _("Saving a checkpoint and leaving the swarm. The window then closes.")
        )
        restyle(self.dot, "tone", "busy")
        for control in (self.primary, self.secondary, self.snooze, self.terms, self.device):
            control.setEnabled(False)
