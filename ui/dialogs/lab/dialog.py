"""The dialog with which a lab's admin commands machines of the swarm that we are in."""

import asyncio
from collections.abc import Sequence

from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QWidget
from shiboken6 import isValid

from app.common.errors import LabError, UserFacingError
from app.common.i18n import _, ngettext
from app.common.plain import one_line
from app.lab.admin import CommandOutcome
from app.lab.asking import admin_in, change_of, move_to, own_key, pause_of
from app.lab.messages import ExportModel, LabCommand, StartTraining, StopTraining
from app.swarm.fleet import Machine
from ui.dialogs.dialog import Dialog
from ui.models.session_model import SessionModel
from ui.texts import lab as lab_texts
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.banner import announce
from ui.widgets.buttons import button
from ui.widgets.choice import Choice
from ui.widgets.forms.fields import error_label, line_edit, show_error
from ui.widgets.labels import label

WIDTH, LIST_HEIGHT = 680, 140

WAIT_SECONDS = 600.0
"""For what takes long, such as an export."""


class LabDialog(Dialog):
    """What to command, and each machine with what became of it."""

    def __init__(self, model: SessionModel, window: QWidget, machines: Sequence[Machine]) -> None:
        super().__init__(window, _("Command machines"), width=WIDTH)
        self._model = model
        self._machines = tuple(machines)
        self._items: dict[str, QListWidgetItem] = {}
        """What the list says of each machine, by public key."""
        self._busy = False
        """A command is under way: another one would mix its outcomes with these."""
        self.key = line_edit(_("Lab key"))
        self.what = Choice()
        self.value = line_edit(_("What to set"))
        self.list = QListWidget()
        self.error = error_label()
        self.send = button(_("Command"), "primary")
        self.close_button = button(_("Close"))
        self._lay_out()
        self._connect()
        self._show_machines()
        self._choose()
        model.run(self._show_key())

    def _lay_out(self) -> None:
        self.key.setReadOnly(True)
        self.list.setAccessibleName(_("Machines"))
        self.list.setMinimumHeight(LIST_HEIGHT)
        self.value.setMaxLength(32 * 1024)
        self.what.setAccessibleName(_("Command"))
        for action, words in lab_texts.commands().items():
            self.what.addItem(words, action)
        count = len(self._machines)
        text = ngettext("{count} machine", "{count} machines", count)
        key = QHBoxLayout()
        key.addWidget(label(_("Lab key"), "strong"))
        key.addWidget(self.key, 1)
        what = QHBoxLayout()
        what.addWidget(self.what)
        what.addWidget(self.value, 1)
        self.column.addWidget(label(text.format(count=units.count(count)), "page"))
        self.column.addWidget(
            label(
                _(
                    "Machines whose settings have this lab key obey, unless their user refuses."
                    " Each keeps to its terms."
                ),
                "muted",
                wrap=True,
            )
        )
        self.column.addLayout(key)
        self.column.addLayout(what)
        self.column.addWidget(self.error)
        self.column.addWidget(self.list, 1)
        self.add_buttons(self.send, self.close_button)

    def _connect(self) -> None:
        self.what.currentIndexChanged.connect(self._choose)
        self.value.textChanged.connect(self._enable)
        self.send.clicked.connect(self._send)
        self.close_button.clicked.connect(self.accept)
        self.close_button.setAutoDefault(False)
        self.finished.connect(self.deleteLater)

    async def _show_key(self) -> None:
        key = await asyncio.to_thread(own_key, self._model.session.folders)
        if isValid(self):
            self.key.setText(key.public_key)
            self.key.setCursorPosition(0)

    def _choose(self) -> None:
        hint = lab_texts.hints().get(self.what.currentData(), "")
        self.value.setPlaceholderText(hint)
        self.value.setVisible(bool(hint))
        self._enable()

    def _enable(self) -> None:
        is_complete = self.value.isHidden() or bool(self.value.text().strip())
        self.send.setEnabled(is_complete and not self._busy)

    def _show_machines(self) -> None:
        self.list.clear()
        for machine in self._machines:
            item = QListWidgetItem(_in_words(machine), self.list)
            self._items[machine.public_key] = item

    # --- commanding

    def _send(self) -> None:
        self._busy = True
        self._show_machines()
        self._enable()
        self._model.run(self._do_send(str(self.what.currentData()), self.value.text().strip()))

    async def _do_send(self, action: str, text: str) -> None:
        session = self._model.session
        node, swarm = session.swarm.node, session.store.state.swarm
        problem = ""
        try:
            command = await self._command(action, text)
            if node is None:
                raise _outside()
            run_id = "" if swarm is None else swarm.run_id
            async with admin_in(session.folders, node=node, run_id=run_id) as admin:
                await admin.command(self._machines, command, wait=WAIT_SECONDS, told=self._told)
        except UserFacingError as error:
            if not isValid(self):  # the user may have closed it meanwhile
                raise
            problem = texts.error_text(error)
        finally:
            if isValid(self):
                self._busy = False
                self._enable()
        if isValid(self):
            show_error(self.error, problem)
            if problem:
                announce(self.error)

    async def _command(self, action: str, text: str) -> LabCommand:
        match action:
            case "stop":
                return StopTraining()
            case "pause":
                return pause_of(text)
            case "set":
                return change_of(text)
            case "move":
                return move_to(await self._model.session.recents.read_invite(text))
            case "export":
                return ExportModel()
        return StartTraining()

    def _told(self, outcome: CommandOutcome) -> None:
        if isValid(self):
            words = _in_words(outcome.machine, lab_texts.outcome(outcome.outcome), outcome.text)
            self._items[outcome.machine.public_key].setText(words)


def _in_words(machine: Machine, *more: str) -> str:
    name = machine.record.alias or machine.public_key[:8]
    return one_line(texts.DOT.join(filter(None, (name, *more))))


def _outside() -> LabError:
    return LabError(_("this machine is in no swarm."), remedy=_("Join a swarm first."))
