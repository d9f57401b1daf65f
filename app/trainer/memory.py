"""The memory of the device that trains, given back during a long pause."""

import logging
import time

import torch

from app.common.errors import DeviceError
from app.common.i18n import _
from app.trainer import heap
from app.trainer.tuning import release_memory, wait_for

log = logging.getLogger(__name__)


class DeviceMemory:
    """What training keeps on its device: weights, gradients and the optimizer's state.

    It is moved to the machine's own memory and back, in place: what else holds a parameter, as
    hivemind's averagers do, doesn't notice, and the samples gathered so far aren't lost. What the
    driver itself takes for a process stays taken.
    """

    def __init__(
        self, device: torch.device, *, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._device = device
        self._model = model
        self._optimizer = optimizer
        self._is_free = False

    def free(self) -> None:
        """Give it back. On the CPU, which is the machine itself, only what is free goes."""
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
        """Take it again. Raises `DeviceError` when others have it now."""
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
        """Wait until all that it was given to compute is done; returns the seconds waited."""
        began = time.perf_counter()
        wait_for(self._device)
        return time.perf_counter() - began

    def _move(self, device: torch.device) -> None:
        self._model.to(device)  # parameters and their gradients
        for state in self._optimizer.state.values():
            for name, value in state.items():
                # AdamW keeps its counter of steps on the CPU, wherever it computes
                if isinstance(value, torch.Tensor) and value.dim() > 0:
                    state[name] = value.to(device)
