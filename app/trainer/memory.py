"""The memory of the device that trains: given back during a long pause."""

import logging
import time

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.trainer import heap
from app.trainer.step.waiting import release_memory, wait_for

log = logging.getLogger(__name__)


class DeviceMemory:
    """Moves weights, gradients and the optimizer's state to the machine's memory, and back.

    The tensors are moved in place, so that whoever holds a parameter, as hivemind's averagers do,
    still holds it, and the gradient of the epoch isn't lost. The memory that the driver takes for
    the process itself isn't given back.
    """

    def __init__(
        self, device: torch.device, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._device = device
        self._model = model
        self._optimizer = optimizer
        self._is_free = False

    def free(self) -> None:
        """Give the device's memory back. On the CPU this is only the free part of the heap."""
        if self._device.type == "cpu":
            heap.give_back()
            return
        if self._is_free:
            return
        self._is_free = True
        self._move(torch.device("cpu"))
        release_memory(self._device)
        log.info("the memory of %s is given back until training goes on", self._device)

    def take_back(self) -> None:
        """Take the memory again. Raises `DeviceError` when other programs have it now."""
        if not self._is_free:
            return
        try:
            self._move(self._device)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                _("other programs have taken the memory of {device} during the pause.").format(
                    device=self._device
                ),
                field="device",
                remedy=_("Close them, and start training again: it resumes from its checkpoint."),
            ) from error
        self._is_free = False

    def wait_for_device(self) -> float:
        """Wait until the device has computed all that is queued; returns the seconds waited."""
        began = time.perf_counter()
        wait_for(self._device)
        return time.perf_counter() - began

    def _move(self, device: torch.device) -> None:
        self._model.to(device)  # parameters and their gradients
        for state in self._optimizer.state.values():
            for name, value in state.items():
                # AdamW's counter of steps, a single number, stays where it is
                if isinstance(value, torch.Tensor) and value.dim() > 0:
                    state[name] = value.to(device)
