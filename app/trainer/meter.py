"""Counts steps, samples, tokens and seconds of computing, and sums up the loss."""

import threading
from collections import deque
from dataclasses import dataclass

from app.trainer.work import WorkMeter

WINDOW_SECONDS = 5.0
"""Rates are over the last steps that took this long together."""


@dataclass(frozen=True, kw_only=True)
class MeterReading:
    """Totals since the start, and rates over the last `WINDOW_SECONDS`."""

    step: int
    """Micro-batches."""

    samples: int

    tokens: int

    compute_seconds: float
    """Of all steps, without the waits that keep the pace."""

    samples_per_second: float | None
    """With the waits that keep the pace. None before the first step."""

    tokens_per_second: float | None
    """As `samples_per_second`."""


@dataclass(kw_only=True)
class LossSum:
    """The sum of the losses of some steps."""

    total: float = 0.0
    """Of the steps' losses, each a mean per token (nats)."""

    steps: int = 0
    """How many steps are in the sum."""

    @property
    def mean(self) -> float | None:
        """Nats per token; None without a step."""
        return self.total / self.steps if self.steps else None

    def add(self, total: float, steps: int) -> None:
        """Add the losses of more steps."""
        self.total += total
        self.steps += steps

    def take(self) -> "LossSum":
        """Return the sum, and start a new one."""
        taken = LossSum(total=self.total, steps=self.steps)
        self.total, self.steps = 0.0, 0
        return taken


class Meter:
    """Written by the training loop, read by the reporter's thread."""

    work: WorkMeter
    """Counts which of the samples entered a round."""

    def __init__(self) -> None:
        self.work = WorkMeter()
        self._guard = threading.Lock()
        self._step = self._samples = self._tokens = 0
        self._compute_seconds = 0.0
        self._window: deque[tuple[float, int, int]] = deque()
        self._window_seconds = 0.0
        self._for_progress = LossSum()
        self._for_swarm = LossSum()

    def add_step(self, *, samples: int, tokens: int, seconds: float, computing: float) -> None:
        """Count a micro-batch.

        seconds: all that the step took. computing: seconds of forward and backward alone.
        """
        self.work.computed(samples=samples, tokens=tokens, seconds=computing)
        with self._guard:
            self._step += 1
            self._samples += samples
            self._tokens += tokens
            self._compute_seconds += seconds
            self._window.append((seconds, samples, tokens))
            self._window_seconds += seconds
            self._trim_window()

    def add_loss(self, loss: float) -> None:
        """Count the loss of a micro-batch, in nats per token; on a GPU it is known some steps
        after it."""
        with self._guard:
            self._for_progress.add(loss, 1)
            self._for_swarm.add(loss, 1)

    @property
    def compute_seconds(self) -> float:
        """Seconds of all steps since the start."""
        with self._guard:
            return self._compute_seconds

    def add_wait(self, seconds: float) -> None:
        """Count seconds in which nothing was computed, to keep to the app's pace."""
        if not seconds:
            return
        with self._guard:
            self._window.append((seconds, 0, 0))
            self._window_seconds += seconds
            self._trim_window()

    def _trim_window(self) -> None:
        while len(self._window) > 2 and self._window_seconds > WINDOW_SECONDS:
            self._window_seconds -= self._window.popleft()[0]

    def read(self) -> MeterReading:
        """Totals and rates as of now."""
        with self._guard:
            seconds = self._window_seconds
            samples = sum(samples for _, samples, _ in self._window)
            tokens = sum(tokens for _, _, tokens in self._window)
            return MeterReading(
                step=self._step,
                samples=self._samples,
                tokens=self._tokens,
                compute_seconds=self._compute_seconds,
                samples_per_second=samples / seconds if seconds else None,
                tokens_per_second=tokens / seconds if seconds else None,
            )

    def take_loss_for_progress(self) -> float | None:
        """Mean loss since the last call (nats per token); None without a step."""
        with self._guard:
            return self._for_progress.take().mean

    def take_loss_for_swarm(self) -> LossSum:
        """Sum of the losses since the last call, for the swarm's record."""
        with self._guard:
            return self._for_swarm.take()
