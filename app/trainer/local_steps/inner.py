"""The steps that a machine takes by itself: micro-batches, gathered to a local batch each."""

import math
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch.optim.lr_scheduler import LambdaLR

from app.trainer.step.waiting import LateValues


class InnerSteps:
    """The inner optimizer. One thread, the training thread, calls it."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        *,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[torch.optim.Optimizer], LambdaLR] | None,
        batch_size: int,
        max_norm: float,
        needs_scaler: bool,
    ) -> None:
        """schedule: makes the one of the learning rate, which follows the swarm's epochs; None for
        a constant rate. batch_size: samples of a step. max_norm: to which its gradient is cut.
        needs_scaler: the loss must be scaled, since gradients would underflow in float16.
        """
        self.optimizer = optimizer
        self._parameters = parameters
        self._scheduler = schedule(optimizer) if schedule is not None else None
        self._scaler = torch.amp.GradScaler() if needs_scaler else None
        self._batch_size, self._max_norm = batch_size, max_norm
        self._gathered = 0  # samples in the gradient
        self._norms = LateValues(parameters[0].device)
        self._samples: deque[int] = deque()  # of the steps whose norms aren't known yet
        self.taken = 0
        """Steps so far; on a GPU, with the last ones that may turn out to be none."""

    def backward(self, loss: torch.Tensor, samples: int) -> None:
        """Add the gradient of a micro-batch. loss: scalar, mean over its samples.

        Raises `torch.OutOfMemoryError`; a part of the gradient may have been added by then.
        """
        weighted = loss * (samples / self._batch_size)
        (weighted if self._scaler is None else self._scaler.scale(weighted)).backward()

    def count(self, samples: int) -> int:
        """Count a micro-batch, and take a step once there are enough samples; returns how many
        were lost by now, since their gradient was not finite."""
        self._gathered += samples
        if self._gathered < self._batch_size:
            return 0
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(self._batch_size / self._gathered)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        self._step(torch.isfinite(norm))
        self._norms.add(norm)
        self.taken += 1
        self._samples.append(self.forget())
        return self._lost()

    def _step(self, is_finite: torch.Tensor) -> None:
        """Take a step with a gradient that is finite, and none with another. is_finite: scalar."""
        if self._scaler is not None:
            self._scaler.step(self.optimizer)  # skips such a gradient
            self._scaler.update()
        elif self._norms.are_late and getattr(self.optimizer, "_step_supports_amp_scaling", False):
            # Fused kernels look at it on the device, as `GradScaler` wants it: nobody waits.
            self.optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif is_finite:
            self.optimizer.step()

    def _lost(self) -> int:
        """Samples of the steps that turned out to be none."""
        lost = 0
        for norm in self._norms.take():
            samples = self._samples.popleft()
            if not math.isfinite(norm):
                lost += samples
                self.taken -= 1
        return lost

    def forget(self) -> int:
        """Give up the gradient; returns how many samples were in it."""
        self.optimizer.zero_grad()
        gathered, self._gathered = self._gathered, 0
        return gathered

    def follow(self, epoch: int) -> None:
        """Set the learning rate to that of an epoch of the swarm."""
        if self._scheduler is not None:
            self._scheduler.last_epoch = epoch - 1
            self._scheduler.step()
