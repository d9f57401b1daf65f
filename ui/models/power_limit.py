"""What the chosen devices may draw at most, before anything was measured."""

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QObject, Signal

from app.common.background import run_in_thread
from app.machine.energy import power_limit
from app.protocol import Device
from ui.models.session_model import SessionModel


class PowerLimit(QObject):
    """Read once for the devices that are chosen, in a thread."""

    changed = Signal()

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model)
        self._model = model
        self._devices: Sequence[Device] = ()
        self.watts: float | None = None
        """Of the chosen devices together; None where it isn't known."""

    def look_at(self, devices: Sequence[Device]) -> None:
        """Read that of devices, if they are others than before."""
        if devices == self._devices:
            return
        self._devices, self.watts = devices, None
        if devices:
            self._model.run(self._read(devices))

    async def _read(self, devices: Sequence[Device]) -> None:
        asked = partial(power_limit, devices)
        watts = await run_in_thread(asked, name="asks the power limit")  # a driver may hang
        if devices == self._devices and watts is not None:
            self.watts = watts
            self.changed.emit()
