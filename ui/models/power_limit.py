"""What the chosen device may draw at most, before anything was measured."""

from functools import partial

from PySide6.QtCore import QObject, Signal

from app.common.background import run_in_thread
from app.machine.energy import power_limit
from app.protocol import Device
from ui.models.session_model import SessionModel


class PowerLimit(QObject):
    """Read once for each device that is chosen, in a thread."""

    changed = Signal()

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model)
        self._model = model
        self._device: Device | None = None
        self.watts: float | None = None
        """Of the chosen device; None where it isn't known."""

    def look_at(self, device: Device | None) -> None:
        """Read that of a device, if it is another one than before."""
        if device == self._device:
            return
        self._device, self.watts = device, None
        if device is not None:
            self._model.run(self._read(device))

    async def _read(self, device: Device) -> None:
        asked = partial(power_limit, device.id, device.name)
        watts = await run_in_thread(asked, name="asks the power limit")  # a driver may hang
        if device == self._device and watts is not None:
            self.watts = watts
            self.changed.emit()
