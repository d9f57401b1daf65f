"""Waiting for a device: as late as can be, and never longer than for what is needed."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

MOST_AHEAD = 2
"""Steps that are queued on a GPU at most, while it computes another: enough for it never to wait,
and few enough to stop soon."""


def release_memory(device: torch.device) -> None:
    """Give back the free memory that torch's allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def wait_for(device: torch.device) -> None:
    """Return when the device has computed all that is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class DeviceEvent(Protocol):
    """A place in a device's queue, as `torch.cuda.Event`."""

    def record(self) -> None:
        """Put it at the end of the queue."""

    def synchronize(self) -> None:
        """Return when the device has come to it."""


class LateValues:
    """Numbers that a device computes, read `MOST_AHEAD` later ones later: to read one at once would
    make the processor wait for a GPU, and then the GPU for its next work.

    It also keeps the processor from queueing more than that. On other devices there is nothing to
    wait for, and each number is read at once.
    """

    def __init__(
        self, device: torch.device, *, event: Callable[[], DeviceEvent] = torch.cuda.Event
    ) -> None:
        self.are_late = device.type == "cuda"
        self._event = event
        self._queue: deque[tuple[DeviceEvent, torch.Tensor]] = deque()
        self._known: list[float] = []

    def add(self, value: torch.Tensor) -> None:
        """Queue a scalar; waits until there are no more than `MOST_AHEAD` in the queue."""
        if not self.are_late:
            self._known.append(float(value))
            return
        copied, event = value.to("cpu", non_blocking=True), self._event()
        event.record()
        self._queue.append((event, copied))
        self._read(left=MOST_AHEAD)

    def finish(self) -> None:
        """Wait for all that are queued."""
        self._read(left=0)

    def take(self) -> list[float]:
        """Those that are known and weren't taken before, in order."""
        known, self._known = self._known, []
        return known

    def _read(self, *, left: int) -> None:
        while len(self._queue) > left:
            event, value = self._queue.popleft()
            event.synchronize()
            self._known.append(float(value))
