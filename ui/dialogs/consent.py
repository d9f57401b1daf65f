"""Asks the volunteer whether a task from another program may train on this machine."""

import asyncio

from PySide6.QtWidgets import QApplication, QCheckBox, QDialog, QWidget

from app.common.i18n import _, ngettext
from app.session import Session
from app.spec.schema import SwarmSpec
from app.state.state import ContributorState
from app.tasks.task import Task
from app.tasks.tasks import Consent
from ui.desktop.notifier import Notifier
from ui.dialogs.dialog import Dialog
from ui.style.plain import control_text
from ui.texts import specs as spec_texts
from ui.texts import states as texts
from ui.texts import units
from ui.widgets.buttons import button
from ui.widgets.card import FactsCard
from ui.widgets.labels import label

WIDTH = 560


class VolunteerAtWindow:
    """Asks in a dialog and with a notification, and waits for the answer without a limit."""

    def __init__(self, window: QWidget, session: Session, notifier: Notifier) -> None:
        self._window = window
        self._session = session
        self._notifier = notifier

    async def agrees(self, task: Task) -> bool:
        """Ask, and return whether the volunteer agrees. If cancelled, the question is closed."""
        answered = asyncio.Event()
        question = ConsentQuestion(self._window, task, self._session.store.state)
        question.finished.connect(lambda _code: answered.set())
        question.show()
        QApplication.alert(self._window)
        try:
            async with self._notifier.showing(_title(), _who(task)):
                await answered.wait()
            agreed = question.result() == QDialog.DialogCode.Accepted
            if agreed and question.always.isChecked():
                await self._trust(task.order.caller)
            return agreed
        finally:
            question.close()
            question.deleteLater()

    async def _trust(self, caller: str) -> None:
        trusting = Consent.of(self._session.store.settings).trusting(caller)
        await self._session.change_settings(trusting.settings)


class ConsentQuestion(Dialog):
    """The question: what the task would do, and who asks for it."""

    def __init__(self, window: QWidget, task: Task, state: ContributorState) -> None:
        super().__init__(window, _title(), width=WIDTH, scrolls=True)
        self.setModal(False)
        self.always = QCheckBox(
            control_text(
                _("From now on, accept tasks from {caller} without asking").format(
                    caller=task.order.caller
                )
            )
        )
        self.agree = button(_("Train it"), "primary")
        self.refuse = button(_("Refuse"))
        self.refuse.setDefault(True)  # Return must not agree to a task that nobody has read
        self.agree.clicked.connect(self.accept)
        self.refuse.clicked.connect(self.reject)
        self._lay_out(task, state)

    def _lay_out(self, task: Task, state: ContributorState) -> None:
        facts = FactsCard(_("What it would do"), _rows())
        facts.show_values(_values(task, state))
        self.column.addWidget(label(_title(), "page", wrap=True))
        self.column.addWidget(label(_who(task), wrap=True))
        self.column.addWidget(facts)
        for warning in _warnings(task, state):
            self.column.addWidget(label(warning, "muted", wrap=True))
        if not task.meaning.files:
            self.column.addWidget(self.always)
        self.add_buttons(self.refuse, self.agree)


def _title() -> str:
    return _("A task wants to train on this machine")


def _who(task: Task) -> str:
    order = task.order
    words = (
        _("A program on this machine asks, for the user {user} (task {task}).")
        if order.from_this_machine
        else _("A program at {caller} asks, for the user {user} (task {task}).")
    )
    return words.format(caller=order.caller, user=order.user_id or "–", task=order.task_id or "–")


def _rows() -> dict[str, str]:
    return {
        "title": _("Title"),
        "model": _("Model"),
        "weights": _("Begins with"),
        "data": _("Data"),
        "batch": _("Batch of the swarm"),
        "device": _("Device"),
        "end": _("Ends"),
        "peers": _("Connects to"),
    }


def _values(task: Task, state: ContributorState) -> dict[str, str]:
    spec, training = task.spec, task.spec.training
    chosen = next((entry for entry in state.devices if entry.id == state.device), None)
    count = len(spec.initial_peers)
    return {
        "title": spec.name,
        "model": spec_texts.model_description(spec.model),
        "weights": _beginning(spec),
        "data": spec_texts.data_description(spec.data),
        "batch": _("{samples} samples of {tokens} tokens").format(
            samples=units.count(training.target_batch_size),
            tokens=units.count(training.sequence_length),
        ),
        "device": texts.device_label(chosen) if chosen else state.device,
        "end": texts.stop_condition(training.stop),
        "peers": _entrance(count, state),
    }


def _beginning(spec: SwarmSpec) -> str:
    weights, adapters = spec_texts.weights_description(spec), spec.training.adapters
    if not weights:
        return _("chance: a new model")
    if adapters is None:
        return weights
    rank = _("only adapters of rank {rank} are trained").format(rank=adapters.rank)
    return texts.DOT.join((weights, rank))


def _entrance(addresses: int, state: ContributorState) -> str:
    if addresses:
        text = ngettext("{count} address", "{count} addresses", addresses)
        return text.format(count=units.count(addresses))
    if state.peers:
        return _("the peers you are connected to")
    return _("nobody: it begins a new swarm")


def _warnings(task: Task, state: ContributorState) -> list[str]:
    found = [
        _("What is learnt, your peer id and network address go to the swarm's peers."),
    ]
    if task.meaning.files:
        paths = "\n".join(task.meaning.files)
        found.append(
            _(
                "It reads these files of yours, and what is learnt from them leaves this"
                " machine:\n{paths}"
            ).format(paths=paths)
        )
    if state.swarm is not None:
        found.append(_("To train it, you leave the swarm {title}.").format(title=state.swarm.title))
    return found
