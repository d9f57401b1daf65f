"""The join dialog: choose a swarm, see what joining means, then join or only watch."""

import logging
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.state.state import ContributorState
from ui.dialogs.dialog import resize_on_screen
from ui.dialogs.join.invite_input import InviteInput
from ui.dialogs.join.offers import OfferedSwarms
from ui.dialogs.join.preview import Preview
from ui.dialogs.join.recent import RecentSwarms
from ui.models.session_model import SessionModel
from ui.style.plain import set_tool_tip
from ui.style.theme import Theme
from ui.widgets.buttons import button, choice_button
from ui.widgets.labels import label

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

INVITE, RECENT, OFFERED = range(3)
"""Indexes of the tabs."""


class JoinDialog(QDialog):
    """Two steps: a tab for each place to choose a swarm from, then the preview."""

    accepted_spec = Signal(object, bool)
    """Carries the `SwarmSpec` to join, and whether to train at once."""

    def __init__(self, model: SessionModel, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model
        self._spec: SwarmSpec | None = None
        self.invite = InviteInput()
        self.recent = RecentSwarms()
        self.offered = OfferedSwarms(model, model.session.offers)
        self.tabs = QButtonGroup(self)
        self.sources = QStackedWidget()
        self.preview = Preview(theme, model)
        self.steps = QStackedWidget()
        self.back = button(_("Back"))
        self.watch = button(_("Only watch"))
        self.join = button(_("Join and train"), "primary")
        self._lay_out()
        self._connect()
        self._model.run(self._load_recents())

    def _lay_out(self) -> None:
        self.setWindowTitle(_("Join a swarm"))
        resize_on_screen(self, 760, 640)
        self.steps.addWidget(self._choosing())
        self.steps.addWidget(self._previewing())
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.addWidget(self.steps)

    def _choosing(self) -> QWidget:
        step = QWidget()
        column = QVBoxLayout(step)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addWidget(label(_("Join a swarm"), "page"))
        column.addLayout(self._tab_row())
        column.addWidget(self.sources, 1)
        for one in step.findChildren(QPushButton):
            one.setAutoDefault(False)  # fields and lists handle Return themselves
        return step

    def _tab_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        for index, (text, widget) in enumerate(
            (
                (_("Invite"), self.invite),
                (_("Recent"), self.recent),
                (_("CoTrain backend"), self.offered),
            )
        ):
            tab = choice_button(text)
            self.tabs.addButton(tab, index)
            row.addWidget(tab)
            self.sources.addWidget(widget)
        row.addStretch()
        self.tabs.button(INVITE).setChecked(True)
        return row

    def _previewing(self) -> QWidget:
        step = QWidget()
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.back)
        buttons.addStretch()
        buttons.addWidget(self.watch)
        buttons.addWidget(self.join)
        column = QVBoxLayout(step)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self.preview, 1)
        column.addLayout(buttons)
        return step

    def _connect(self) -> None:
        model = self._model
        self.tabs.idClicked.connect(self.open_tab)
        self.invite.pasted.connect(lambda text: model.run(self._read(text, pasted=True)))
        self.invite.opened.connect(self.show_source)
        # queued, or the same Return would also press the button that then has the focus
        queued = Qt.ConnectionType.QueuedConnection
        self.recent.chosen.connect(lambda spec: self.show_spec(spec, known=True), queued)
        self.offered.chosen.connect(self.show_spec, queued)
        self.recent.forgotten.connect(lambda run_id: self._model.run(self._forget(run_id)))
        self.preview.files.changed.connect(self._enable)
        self.back.clicked.connect(self.choose)
        self.watch.clicked.connect(lambda: self._agree(train=False))
        self.join.clicked.connect(lambda: self._agree(train=True))
        self.preview.doubts_changed.connect(self._enable)
        self._model.changed.connect(self._on_state)

    # --- choosing

    def choose(self) -> None:
        """Go to the first step, at the tab that was open last."""
        self.steps.setCurrentIndex(0)
        self.open_tab(self.sources.currentIndex())

    def choose_offered(self) -> None:
        """Go to the first step, at the swarms that the backend offers."""
        self.steps.setCurrentIndex(0)
        self.open_tab(OFFERED)

    def open_tab(self, index: int) -> None:
        """Show a tab: `INVITE`, `RECENT` or `OFFERED`."""
        self.tabs.button(index).setChecked(True)
        self.sources.setCurrentIndex(index)
        first = (self.invite.link, self.recent.list, self.offered.search)[index]
        first.setFocus(Qt.FocusReason.OtherFocusReason)

    async def _load_recents(self) -> None:
        recents = await self._model.session.recents.load()
        if isValid(self):  # the user may have closed it meanwhile
            self.recent.show_recents(recents)

    async def _forget(self, run_id: str) -> None:
        await self._model.session.recents.forget(run_id)
        await self._load_recents()

    # --- reading an invite

    def show_source(self, source: str) -> None:
        """Read an invite, given by its link or path, and preview its swarm."""
        self._model.run(self._read(source, pasted=False))

    async def _read(self, source: str, *, pasted: bool) -> None:
        try:
            spec = await self._model.session.recents.read_invite(source, pasted=pasted)
        except UserFacingError as error:
            if isValid(self):
                is_link = pasted or source.lower().startswith("cotrain:")
                self._refuse(error, file="" if is_link else source)
        else:
            if isValid(self):
                self.show_spec(spec)

    def _refuse(self, error: UserFacingError, *, file: str = "") -> None:
        self.choose()
        self.open_tab(INVITE)
        self.invite.show_problem(error, file=file)

    # --- previewing

    def show_spec(self, spec: "SwarmSpec", *, known: bool = False) -> None:
        """Preview a swarm; a spec that can't be estimated is refused.

        known: it is one of the recent ones, which may be asked at once whether anybody is there.
        """
        try:
            self.preview.show_spec(spec, self._model.state, known=known)
        except UserFacingError as error:  # the model's sizes make no sense
            self._refuse(error)
            return
        log.info("previewing the swarm %s", spec.run_id)
        self._spec = spec
        self._model.run(self._judge(spec))
        self.steps.setCurrentIndex(1)
        self._enable()
        if not self.preview.files.focus_first_empty():
            self.join.setFocus(Qt.FocusReason.OtherFocusReason)

    def _enable(self) -> None:
        complete, doubtful = self.preview.files.complete, self.preview.is_doubtful
        self.watch.setEnabled(not doubtful)
        self.join.setEnabled(complete and not doubtful)
        set_tool_tip(self.join, "" if complete else _("First choose a file for each slot"))

    async def _judge(self, spec: "SwarmSpec") -> None:
        judged = await self._model.session.organisation.judge(spec)
        if isValid(self) and spec is self._spec:
            self.preview.show_organiser(spec, judged)

    def _on_state(self, state: ContributorState) -> None:
        if self.isVisible() and self._spec is not None:
            self.preview.reconsider(state)

    def _agree(self, *, train: bool) -> None:
        assert self._spec is not None
        self._model.session.bindings.choose(self._spec.run_id, self.preview.files.chosen)
        self.accepted_spec.emit(self._spec, train)
        self.accept()
