"""The dialog with the members of a closed swarm: all see it, its organiser changes it."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from shiboken6 import isValid

from app.common.errors import UserFacingError
from app.common.i18n import _, ngettext
from app.organiser.roster import LABEL_CHARACTERS, Member
from app.state.state import ContributorState
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.forms.fields import error_label, line_edit, show_error
from ui.widgets.labels import label

WIDTH, LIST_HEIGHT = 680, 140


class MembersDialog(Dialog):
    """Our own code to send to the organiser, and the members with what is seen of them."""

    def __init__(self, model: SessionModel, window: QWidget) -> None:
        super().__init__(window, _("Members"), width=WIDTH)
        self._model = model
        self.words = label(role="muted", wrap=True)
        self.own = line_edit(_("This machine's code"))
        self.copy = button(_("Copy code"), later=[_("Copied")])
        self.list = QListWidget()
        self.remove = button(_("Remove"))
        self.code = line_edit(_("The new member's code"))
        self.label = line_edit(_("Whose machine it is"))
        self.add = button(_("Add"), "primary")
        self.error = error_label()
        self.close_button = button(_("Close"))
        self._organiser = QWidget()
        self._shown: tuple[tuple[Member, bool], ...] = ()
        self._lay_out()
        self._connect()
        self.show_state(model.state)

    def _lay_out(self) -> None:
        self.own.setReadOnly(True)
        self.list.setAccessibleName(_("Members"))
        self.list.setMinimumHeight(LIST_HEIGHT)
        self.code.setPlaceholderText("Qm…")
        self.code.setMaxLength(4096)
        self.label.setPlaceholderText(_("Whose machine it is"))
        self.label.setMaxLength(LABEL_CHARACTERS)
        own = QHBoxLayout()
        own.addWidget(label(_("This machine's code"), "strong"))
        own.addWidget(self.own, 1)
        own.addWidget(self.copy)
        new = QHBoxLayout()
        for widget, stretch in ((self.code, 3), (self.label, 2), (self.add, 0), (self.remove, 0)):
            new.addWidget(widget, stretch)
        organiser = QVBoxLayout(self._organiser)
        organiser.setContentsMargins(0, 0, 0, 0)
        organiser.addWidget(
            label(
                _("Paste the code that the new member sent you. It takes effect within seconds."),
                "muted",
                wrap=True,
            )
        )
        organiser.addLayout(new)
        organiser.addWidget(self.error)
        self.column.addWidget(label(_("Members"), "page"))
        self.column.addWidget(self.words)
        self.column.addLayout(own)
        self.column.addWidget(self.list, 1)
        self.column.addWidget(self._organiser)
        self.add_buttons(self.close_button)

    def _connect(self) -> None:
        self._model.changed.connect(self.show_state)
        self.copy.clicked.connect(self._copy)
        self.add.clicked.connect(self._add)
        self.code.returnPressed.connect(self._add)
        self.remove.clicked.connect(self._remove)
        self.list.currentItemChanged.connect(self._enable)
        self.code.textChanged.connect(self._enable)
        self.close_button.clicked.connect(self.accept)
        for one in (self.add, self.remove, self.copy, self.close_button):
            one.setAutoDefault(False)  # Return adds the member

    def show_state(self, state: ContributorState) -> None:
        """Show the members in a state; an open swarm has none."""
        access = state.access
        if not access.closed:
            if self.isVisible():
                self.reject()
            return
        count = len(access.members)
        text = ngettext("{count} member may take part.", "{count} members may take part.", count)
        self.words.setText(text.format(count=units.count(count)) + " " + texts.access(access))
        self.own.setText(access.code)
        self.own.setCursorPosition(0)
        self._organiser.setVisible(access.organised_here)
        seen = {peer.peer_id for peer in state.peers}
        seen |= state.run.trainer_ids if state.run else frozenset()
        seen |= set(access.code.split()) if state.training else set()
        shown = tuple((member, member.peer_id in seen) for member in access.members)
        if shown != self._shown:
            self._show_members(shown)
        self._enable()

    def _show_members(self, shown: tuple[tuple[Member, bool], ...]) -> None:
        chosen = self._chosen()
        self._shown = shown
        self.list.clear()
        for member, here in shown:
            words = (member.label, member.peer_id, _("here") if here else _("not seen"))
            item = QListWidgetItem(texts.DOT.join(word for word in words if word))
            item.setData(Qt.ItemDataRole.UserRole, member.peer_id)
            self.list.addItem(item)
            if member.peer_id == chosen:
                self.list.setCurrentItem(item)

    def _chosen(self) -> str:
        item, is_there = self.list.currentItem(), self.list.currentRow() >= 0
        return str(item.data(Qt.ItemDataRole.UserRole)) if is_there else ""

    def _enable(self) -> None:
        self.remove.setEnabled(bool(self._chosen()))
        self.add.setEnabled(bool(self.code.text().strip()))

    # --- changing

    def _add(self) -> None:
        if self.code.text().strip():
            self._model.run(self._do_add(self.code.text(), self.label.text()))

    async def _do_add(self, code: str, whose: str) -> None:
        try:
            await self._model.session.organisation.add(code, whose)
        except UserFacingError as error:
            self._show_problem(error)
            return
        if isValid(self):
            self._show_problem(None)
            self.code.clear()
            self.label.clear()

    def _remove(self) -> None:
        self._model.run(self._do_remove(self._chosen()))

    async def _do_remove(self, peer_id: str) -> None:
        try:
            await self._model.session.organisation.remove(peer_id)
        except UserFacingError as error:
            self._show_problem(error)

    def _show_problem(self, error: UserFacingError | None) -> None:
        if not isValid(self):  # the user may have closed it meanwhile
            return
        show_error(self.error, "" if error is None else texts.error_text(error))
        if error is not None:
            announce(self.error)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.own.text())
        self.copy.setText(_("Copied"))
