"""The loss of a model on held-out text, within a budget of time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from app.trainer.data.held_out import HeldOut
from app.trainer.model.loss import loss_of


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model makes of held-out text."""

    loss: float
    """Mean cross-entropy per token, in nats."""

    bits_per_byte: float
    tokens: int
    """How many were predicted."""


class HeldOutMeasure:
    """Evaluates the same first part of the text each time, as much as the budget allows at first.

    The text is cut into windows of the length that the model is trained with, so each token is
    predicted once, by those before it in its window.
    """

    def __init__(
        self,
        held_out: HeldOut,
        *,
        sequence_length: int,
        seconds: float,
        stopping: Callable[[], bool],
    ) -> None:
        """held_out: of two tokens at least. seconds: the budget. stopping: give up."""
        tokens = np.asarray(held_out.tokens)
        self._length = min(sequence_length, len(tokens) - 1)
        self._windows = sliding_window_view(tokens, self._length + 1)[:: self._length]
        self._held_out = held_out
        self._seconds = seconds
        self._stopping = stopping
        self._count: int | None = None

    def of(self, model: torch.nn.Module, *, batch_size: int) -> Measured | None:
        """Measure a model that is in evaluation mode; None when told to give up.

        batch_size: windows that the device computes at once.

        Raises `torch.OutOfMemoryError`; on a CPU, another `RuntimeError` where memory runs out.
        """
        if self._count is None:
            self._loss(model, 0, batch_size)  # the first time, kernels are chosen and loaded
        most = self._count or len(self._windows)
        began, total, done = time.monotonic(), 0.0, 0
        while done < most:
            if self._stopping():
                return None
            count = min(batch_size, most - done)
            total += self._loss(model, done, count) * count
            done += count
            if self._count is None and time.monotonic() - began >= self._seconds:
                break
        self._count = done
        if time.monotonic() - began > 2 * self._seconds:  # the machine has become slower
            self._count = (done + 1) // 2
        return self._measured(total / done, windows=done)

    def _loss(self, model: torch.nn.Module, first: int, count: int) -> float:
        """The mean loss of some windows, read from the device."""
        device = next(model.parameters()).device
        windows = self._windows[first : first + count].astype(np.int64)
        return float(loss_of(model, torch.from_numpy(windows).to(device)))

    def _measured(self, loss: float, *, windows: int) -> Measured:
        tokens = windows * self._length
        text = np.asarray(self._held_out.tokens)[1 : tokens + 1]
        size = self._held_out.tokenizer.byte_count(text)
        bits = loss * tokens / math.log(2)
        return Measured(loss=loss, bits_per_byte=bits / max(1, size), tokens=tokens)
