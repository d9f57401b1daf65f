"""The dialog to invite others: the invite as a link, a QR code and a file."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget
from shiboken6 import isValid

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.p2p import network
from app.p2p.network import Reach
from app.state.state import ContributorState
from ui.dialogs.dialog import resize_on_screen
from ui.dialogs.qr import LargeQrCode, QrCode
from ui.models.session_model import SessionModel
from ui.texts.states import error_text
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.forms.fields import error_label, line_edit, show_error
from ui.widgets.labels import ElidedLabel, label, restyle
from ui.widgets.save_dialog import ask_where_to_save

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec


class ShareDialog(QDialog):
    """Shows the invite of the swarm that we are in, and updates it when our addresses change."""

    def __init__(self, model: SessionModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model
        self.spec: SwarmSpec | None = None
        self.title = ElidedLabel(role="page")
        self.who = label(role="muted", wrap=True)
        self.reach = label(wrap=True)
        self.link = line_edit(_("Invite link"))
        self.copy = button(_("Copy link"), "primary", later=[_("Copied")])
        self.save = button(_("Save file…"), later=[_("Saved")])
        self.error = error_label()
        self.qr = QrCode()
        self.enlarge = button(_("Enlarge…"), "quiet")
        self.too_long = label(
            _("The link is too long for a QR code. Give others the file or the link."),
            "muted",
            wrap=True,
        )
        self.addresses = label(role="small", wrap=True)
        self.close_button = button(_("Done"))
        self._lay_out()
        self._connect()
        self._show(model.state)
        self.copy.setFocus()

    def _lay_out(self) -> None:
        self.setWindowTitle(_("Invite others"))
        self.setMinimumWidth(680)
        self.link.setReadOnly(True)
        self.addresses.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.setSpacing(24)
        code = QVBoxLayout()
        code.setSpacing(8)
        code.addWidget(self.qr)
        code.addWidget(self.enlarge, 0, Qt.AlignmentFlag.AlignHCenter)
        code.addStretch()
        row.addLayout(code)
        row.addLayout(self._words(), 1)
        column = self._column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(16)
        column.addWidget(self.title)
        column.addLayout(row)
        column.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignRight)

    def _words(self) -> QVBoxLayout:
        words = QVBoxLayout()
        words.setSpacing(8)
        words.addWidget(self.who)
        words.addWidget(self.link)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.copy)
        buttons.addWidget(self.save)
        buttons.addStretch()
        words.addLayout(buttons)
        words.addWidget(self.error)
        words.addWidget(self.too_long)
        words.addSpacing(8)
        words.addWidget(self.reach)
        words.addWidget(self.addresses)
        words.addStretch()
        return words

    def _connect(self) -> None:
        self.copy.clicked.connect(self._copy)
        self.save.clicked.connect(self._choose_file)
        self.close_button.clicked.connect(self.accept)
        self.enlarge.clicked.connect(self._enlarge)
        self._model.changed.connect(self._show)

    def _show(self, state: ContributorState) -> None:
        spec = self._model.session.swarm.invitation()
        if spec == self.spec:
            return
        self.spec = spec
        if spec is None:
            self.reject()  # we left the swarm
            return
        from app.spec import invite

        link = invite.as_link(spec)
        self.title.set_full(_("Invite others to {title}").format(title=spec.name))
        self.who.setText(_who_may_join(spec))
        self.link.setText(link)
        self.link.setCursorPosition(0)
        self.qr.show_text(link)
        self.too_long.setVisible(self.qr.isHidden())
        self.enlarge.setVisible(not self.qr.isHidden())
        self._show_reach(spec)

    def _show_reach(self, spec: "SwarmSpec") -> None:
        reach = max(map(network.reach, spec.initial_peers), default=Reach.MACHINE)
        self.reach.setText(_words_for(reach, local=spec.local))
        restyle(self.reach, "role", "muted" if reach is Reach.WORLD else "caution")
        self.addresses.setText("\n".join(spec.initial_peers[:4]))

    def _enlarge(self) -> None:
        if self.spec is not None:
            self.large = LargeQrCode(self.link.text(), self.spec.run_id, self)
            self.large.open()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.link.text())
        self.copy.setText(_("Copied"))

    def _choose_file(self) -> None:
        assert self.spec is not None
        ask_where_to_save(
            self,
            _("Save the invite"),
            name=f"{self.spec.run_id}.cotrain",
            kinds={"cotrain": _("Invites (*.cotrain)")},
            save=lambda path: self._model.run(self.save_as(path)),
        )

    async def save_as(self, path: Path) -> None:
        """Write the invite to a file."""
        from app.spec import invite

        assert self.spec is not None
        problem = ""
        try:
            await asyncio.to_thread(invite.save, self.spec, path)
        except UserFacingError as error:
            if not isValid(self):  # the user may have closed it meanwhile
                raise
            problem = error_text(error)
        if isValid(self):
            show_error(self.error, problem)
            self.save.setText(_("Save file…") if problem else _("Saved"))
            if problem:
                self._grow()
                announce(self.error)

    def _grow(self) -> None:
        """`QDialog` doesn't make room for a wrapped text that appears."""
        self._column.activate()
        height = self._column.totalHeightForWidth(self.width())
        resize_on_screen(self, self.width(), max(self.height(), height))


def _who_may_join(spec: "SwarmSpec") -> str:
    if spec.organiser is not None and spec.organiser.closed:
        return _("Whoever joins by this invite waits until the organiser adds them.")
    return _("Whoever has this invite can join the swarm and train with it.")


def _words_for(reach: Reach, *, local: bool) -> str:
    if local:
        return _("Only apps on this machine can join this swarm.")
    return {
        Reach.MACHINE: _(
            "This machine has no address that others could reach: so far the invite works on"
            " this machine only. Check that it is on a network."
        ),
        Reach.NETWORK: _(
            "The invite works in your own network. It works from outside"
            " only if this machine has a public address, or your router"
            " forwards a port to it."
        ),
        Reach.WORLD: _("Others connect to these addresses, as long as this app runs:"),
    }[reach]
