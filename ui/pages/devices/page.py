"""The devices page: what each device of this machine does now, and which are to train."""

import functools
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget
from typing_extensions import override

from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.subscription import Subscription
from app.machine.devices import DeviceEntry, entries
from app.machine.hardware import Reading
from app.protocol import Device
from app.state.state import ContributorState
from ui.models.actions import Actions
from ui.models.session_model import SessionModel
from ui.pages.devices.card import DeviceCard
from ui.style.theme import Theme
from ui.texts import costs
from ui.texts import devices as device_texts
from ui.texts import states as texts
from ui.widgets.buttons import button
from ui.widgets.empty_state import EmptyState
from ui.widgets.labels import label
from ui.widgets.notice import Notice


class DevicesPage(QScrollArea):
    """A card for each device. The hardware is read once a second while the page is visible."""

    def __init__(self, model: SessionModel, actions: Actions, theme: Theme) -> None:
        super().__init__()
        self._model, self._actions, self._theme = model, actions, theme
        self._watch = model.session.devices
        self._entries: tuple[DeviceEntry, ...] = ()
        self._shown: tuple[object, ...] = ()
        self.cards: list[DeviceCard] = []
        self.note = label(role="muted", wrap=True)
        self.again = button(_("Look again"), "quiet")
        self.notice = Notice(theme)
        self.empty = EmptyState("devices", theme)
        self._column = QVBoxLayout()
        self._watching = Subscription()
        self._lay_out()
        self.again.clicked.connect(actions.look_for_devices)
        model.changed.connect(self._on_state)

    def _lay_out(self) -> None:
        page = QWidget()
        page.setObjectName("page")
        head = QHBoxLayout()
        head.addWidget(label(_("Devices"), "page"))
        head.addStretch()
        head.addWidget(self.again)
        column = QVBoxLayout(page)
        column.setContentsMargins(24, 20, 24, 24)
        column.setSpacing(12)
        column.addLayout(head)
        column.addWidget(self.note)
        column.addWidget(self.notice)
        self._column.setSpacing(12)
        column.addLayout(self._column)
        column.addWidget(self.empty, 1)
        column.addStretch()
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName(_("Devices"))
        self.empty.say(
            _("Looking for devices…"),
            _(
                "The training software, PyTorch, is asked which devices it can"
                " use. It takes some seconds to load."
            ),
        )

    # --- only while the page is visible

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        for card in self.cards:
            card.clear_curves()  # they are of the last minute, in which nobody looked
        self._show(self._watch.newest)
        self._watching = self._watch.watch(self.show_reading)

    @override
    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watching.close()

    def _on_state(self, state: ContributorState) -> None:
        now = (state.probed, state.chosen_devices, state.phase.has_trainer, state.swarm)
        if self.isVisible() and now != self._shown:
            self._shown = now
            self._show(self._watch.newest)

    # --- the devices

    def show_reading(self, reading: Reading) -> None:
        """Show the devices with the figures of a new reading, which also go on the curves."""
        self._show(reading, is_new=True)

    def _show(self, reading: Reading, *, is_new: bool = False) -> None:
        state = self._model.state
        known = state.probed is not None
        self.empty.setVisible(not known)
        self.note.setVisible(known)
        self.again.setVisible(known)
        self._entries = (
            entries(state.probed, reading, on_bus=self._watch.on_bus) if state.probed else ()
        )
        self._show_notice()
        self._make_cards()
        self.note.setText(_note(state))
        for card, entry in zip(self.cards, self._entries, strict=True):
            card.show_entry(entry, is_new=is_new)
            card.show_choice(
                chosen=entry.usable and entry.id in state.chosen_devices,
                may_change=entry.usable and not state.phase.has_trainer,
                why_not=_why_not(entry),
            )
            card.say(self._what_it_does(entry, state) if entry.usable else "")

    def _show_notice(self) -> None:
        alone = [entry.kind for entry in self._entries if entry.usable] == ["cpu"]
        self.notice.setVisible(alone)
        if alone:
            self.notice.say(_no_gpu(any(not entry.usable for entry in self._entries)))

    def _make_cards(self) -> None:
        """Make new cards if the devices changed."""
        wanted = [(entry.id, entry.name) for entry in self._entries]
        if wanted == [(card.device, card.accessibleName()) for card in self.cards]:
            return
        for old in self.cards:
            self._column.removeWidget(old)
            old.hide()
            old.deleteLater()
        self.cards = [DeviceCard(entry, self._theme) for entry in self._entries]
        for card in self.cards:
            card.chosen.connect(functools.partial(self._choose, card.device))
            self._column.addWidget(card)

    def _what_it_does(self, entry: DeviceEntry, state: ContributorState) -> str:
        """The speed of the trainer on this device or, without one, the memory it would need."""
        parts = state.training.parts if state.training is not None else ()
        own = (device_texts.training(part) for part in parts if part.device == entry.id)
        return next(own, "") or self._fit(entry)

    def _fit(self, entry: DeviceEntry) -> str:
        spec = self._model.session.swarm.spec
        if spec is None:
            return ""
        device = Device(id=entry.id, name=entry.name, memory=entry.memory)
        try:
            memory = costs.memory(costs.estimate_for(spec, device), device)
        except UserFacingError as error:
            return texts.error_text(error)
        return _("Memory for {title}: {memory}").format(title=spec.name, memory=memory)

    def _choose(self, device: str, wanted: bool) -> None:
        chosen = choice(self._entries, self._model.state.chosen_devices, device, wanted=wanted)
        if chosen:
            self._actions.choose_device(*chosen)
        self._show(self._watch.newest)


def choice(
    entries: Sequence[DeviceEntry], before: Sequence[str], device: str, *, wanted: bool
) -> tuple[str, ...]:
    """The devices that are chosen after the user checked or unchecked one.

    Several GPUs can train together. The CPU trains only alone, since the GPUs' trainers need it.

    Args:
        entries: all devices.
        before: ids of the devices chosen so far.
        device: id of the device that the user clicked.
        wanted: whether the user checked it.
    """
    gpus = [entry.id for entry in entries if entry.usable and entry.kind != "cpu"]
    if wanted and device not in gpus:
        return (device,)
    others = {each for each in before if each != device}
    return tuple(gpu for gpu in gpus if gpu in others or (gpu == device and wanted))


def _note(state: ContributorState) -> str:
    if state.phase.has_trainer:
        return _("Training is under way. Stop it to choose other devices.")
    if len(state.chosen_devices) > 1:
        return _("The next training runs on all chosen devices, each with its own trainer.")
    return _("The next training runs on the device that you choose here, or on several GPUs.")


def _why_not(entry: DeviceEntry) -> str:
    if not entry.usable:
        return _("PyTorch can't train on it.")
    return _("Stop training to choose another device.")


def _no_gpu(known: bool) -> str:
    text = _("No GPU can be used. The CPU trains too, but slowly; or only watch the swarm.")
    if known:
        return text + " " + _("What each GPU needs is shown below.")
    return (
        text
        + " "
        + _(
            "If this machine has one, install its maker's driver and a build of PyTorch for it,"
            " as pytorch.org/get-started shows, then look again."
        )
    )
