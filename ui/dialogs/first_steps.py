"""The first steps: what the app does, on which terms, and in which swarm.

They lead to training in at most five clicks.
"""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QStackedWidget,
    QSystemTrayIcon,
    QVBoxLayout,
    QWidget,
)

from app.common.i18n import _
from app.state.state import ContributorState
from ui.dialogs.dialog import Dialog, scrolling
from ui.models.actions import Actions
from ui.models.preferences import Preferences
from ui.models.session_model import SessionModel
from ui.style.theme import Theme
from ui.texts import costs
from ui.texts import terms as terms_texts
from ui.widgets.buttons import button
from ui.widgets.card import text_card
from ui.widgets.forms.device_box import DeviceBox
from ui.widgets.forms.settings_form import SettingsForm
from ui.widgets.forms.settings_rows import SettingRow, desktop, mains_only, only_when_idle, publish
from ui.widgets.labels import label
from ui.widgets.option_card import option_card

WIDTH, HEIGHT = 640, 580


def terms() -> tuple[SettingRow, ...]:
    """The settings that the user is asked for before the first training, as simple switches."""
    has_tray = QSystemTrayIcon.isSystemTrayAvailable()
    return (only_when_idle(), mains_only(), publish(), *desktop(has_tray=has_tray))


class FirstSteps(Dialog):
    """Three pages that the user may skip, and open again from the Help menu."""

    def __init__(
        self,
        window: QWidget,
        model: SessionModel,
        actions: Actions,
        theme: Theme,
        preferences: Preferences,
    ) -> None:
        super().__init__(window, _("First steps"), width=WIDTH)
        self._actions = actions
        self._theme = theme
        self.device = DeviceBox()
        self.terms = SettingsForm(terms(), preferences, columns=1)
        self.join = button(_("Open an invite…"))
        self.offers = button(_("See what is offered…"))
        self.demo = button(_("Train in the demo swarm"))
        self.back, self.next = button(_("Back")), button(_("Next"), "primary")
        self.later = button(_("Not now"))
        self.place = label(role="muted")
        self.pages = QStackedWidget()
        self.pages.setObjectName("page")  # for its background
        for page in (self._what(), self._terms(), self._swarm()):
            self.pages.addWidget(page)
        self._lay_out()
        self.resize(WIDTH, HEIGHT)
        self._connect(model)
        self.open_page(0)

    # --- the pages

    def _what(self) -> QWidget:
        intro = _(
            "Many machines train one language model together, and this app lets yours be one of"
            " them: it gives its GPU, or CPU, to a run that you choose, for as long as you like."
        )
        page, column = _page(_("Give this machine to a training run"), intro)
        for card in (
            text_card(_("Leaves this machine"), costs.what_leaves()),
            text_card(_("Stays here"), costs.what_stays()),
        ):
            column.addWidget(card, 0, Qt.AlignmentFlag.AlignTop)
        column.addStretch()
        return page

    def _terms(self) -> QWidget:
        intro = _("The settings page has these and more, and you can change them at any time.")
        page, column = _page(_("On your terms"), intro)
        caption = label(_("Train on"), "strong")
        caption.setBuddy(self.device)
        column.addWidget(caption)
        column.addWidget(self.device, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.terms)
        column.addStretch()
        return page

    def _swarm(self) -> QWidget:
        intro = _("You see what a swarm takes of this machine before anything starts.")
        page, column = _page(_("Choose a swarm"), intro)
        for icon, title, words, leads in (
            ("open", _("You were invited"), _("By a file (.cotrain) or a link."), self.join),
            (
                "swarm",
                _("You look for a swarm"),
                _("The CoTrain backend lists those that anyone may join."),
                self.offers,
            ),
            (
                "start",
                _("You want to see it first"),
                _("A small model, trained on this machine alone. Nothing leaves it."),
                self.demo,
            ),
        ):
            column.addWidget(option_card(icon, title, words, leads, self._theme))
        column.addStretch()
        return page

    # --- the frame

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.later)
        buttons.addWidget(self.place, 1, Qt.AlignmentFlag.AlignCenter)
        buttons.addWidget(self.back)
        buttons.addWidget(self.next)
        self.column.addWidget(scrolling(self.pages), 1)
        self.column.addLayout(buttons)
        stays = self.next.sizePolicy()
        stays.setRetainSizeWhenHidden(True)  # else "Back" moves to where "Next" was clicked
        self.next.setSizePolicy(stays)
        self.next.setDefault(True)

    def _connect(self, model: SessionModel) -> None:
        self.later.clicked.connect(self.reject)
        self.back.clicked.connect(lambda: self.open_page(self.pages.currentIndex() - 1))
        self.next.clicked.connect(lambda: self.open_page(self.pages.currentIndex() + 1))
        self.join.clicked.connect(
            lambda: self._leave_to(lambda: self._actions.join_wanted.emit(""))
        )
        self.offers.clicked.connect(lambda: self._leave_to(self._actions.offers_wanted.emit))
        self.demo.clicked.connect(
            lambda: self._leave_to(lambda: self._actions.demo_wanted.emit(True))
        )
        self.device.chosen.connect(self._actions.choose_device)
        model.changed.connect(self._show_state)
        self._show_state(model.state)

    def _show_state(self, state: ContributorState) -> None:
        self.device.show_state(state)
        self.terms.warn(terms_texts.unmeasured(state.verdict))

    def open_page(self, index: int) -> None:
        """Show one of the three pages, counted from 0."""
        count = self.pages.count()
        self.pages.setCurrentIndex(index)
        self.place.setText(_("Step {number} of {count}").format(number=index + 1, count=count))
        self.back.setEnabled(index > 0)
        self.next.setVisible(index < count - 1)
        first = self.next if index < count - 1 else self.join
        first.setFocus(Qt.FocusReason.OtherFocusReason)

    def _leave_to(self, action: Callable[[], object]) -> None:
        self.accept()
        action()


def _page(title: str, intro: str) -> tuple[QWidget, QVBoxLayout]:
    page = QWidget()
    column = QVBoxLayout(page)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(12)
    column.addWidget(label(title, "page", wrap=True))
    column.addWidget(label(intro, wrap=True))
    return page, column
