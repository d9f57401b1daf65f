"""A combo box to choose the device to train on."""

from PySide6.QtCore import Signal

from app.common.i18n import _
from app.state.state import ContributorState
from ui.style.plain import set_tool_tip
from ui.texts import states as texts
from ui.widgets.choice import Choice

Entries = list[tuple[str, str]]
"""For each entry the text and the device id; the id is "" if several devices are chosen."""


class DeviceBox(Choice):
    """Lists the CPU and every GPU. Several devices can be chosen on the devices page only."""

    chosen = Signal(str)
    """Carries the id of the device that the user chose."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: Entries = []
        self.setAccessibleName(_("Device to train on"))
        self.setSizeAdjustPolicy(Choice.SizeAdjustPolicy.AdjustToContents)
        self.setMaximumWidth(320)
        self.activated.connect(self._tell)

    def _tell(self, index: int) -> None:
        if device := self.itemData(index):  # the entry for several devices has no id
            self.chosen.emit(device)

    def show_state(self, state: ContributorState) -> None:
        """Show the devices and the chosen one; disabled while training runs."""
        if (entries := _entries(state)) != self._entries:
            self._fill(entries)
        several = state.probed is None or bool(state.other_devices)
        self.setCurrentIndex(0 if several else self.findData(state.device))
        self.setEnabled(state.probed is not None and not state.phase.has_trainer)
        set_tool_tip(self, _tool_tip(state))
        self.setAccessibleDescription(_tool_tip(state))

    def _fill(self, entries: Entries) -> None:
        self._entries = entries
        self.clear()
        for text, device in entries:
            self.addItem(text, device)


def _entries(state: ContributorState) -> Entries:
    if state.probed is None:
        return [(_("Looking for devices…"), state.device)]
    entries = [(texts.device_label(device), device.id) for device in state.devices]
    if state.other_devices:
        entries.insert(0, (texts.device_count(state.chosen_devices), ""))
    if state.device not in {device for _text, device in entries}:
        entries.append((_missing(state.device), state.device))
    return entries


def _missing(device: str) -> str:
    if device == "auto":
        return _("The first GPU, or CPU")
    return _("{device} (not found)").format(device=device)


def _tool_tip(state: ContributorState) -> str:
    if state.probed is None:
        return _("The training software, PyTorch, is asked which devices it can use.")
    if state.phase.has_trainer:
        return _("Training is under way on this device. Stop training to choose another.")
    return _("The device that the next training runs on")
