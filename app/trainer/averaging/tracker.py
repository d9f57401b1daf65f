"""hivemind's progress tracker, with fewer records a second."""

import threading
import time
from collections.abc import Callable
from typing import Any

from hivemind.optim.progress_tracker import ProgressTracker
from hivemind.utils.timed_storage import get_dht_time

PACE_SECONDS = 1.0
"""The shortest time between two records of our progress within an epoch."""


class _PacedEvent(threading.Event):
    """An event that ignores `set` for `PACE_SECONDS` after the last one, unless it is urgent."""

    def __init__(self, is_urgent: Callable[[], bool]) -> None:
        super().__init__()
        self._is_urgent = is_urgent
        self._set_at = 0.0

    def set(self) -> None:
        now = time.monotonic()
        if self._is_urgent() or now - self._set_at >= PACE_SECONDS:
            self._set_at = now
            super().set()


class PacedTracker(ProgressTracker):
    """Publishes our progress about once a second, and at once when a new epoch begins.

    hivemind's tracker signs and stores a record after every micro-batch, which costs the DHT
    process some 15 ms of CPU each time.
    """

    def __init__(self, **options: Any) -> None:
        start = options.pop("start")
        super().__init__(**options, start=False)
        self.should_report_progress = _PacedEvent(self._is_urgent)
        # hivemind's tracker reads the others' progress for the first time after 3 s.
        self.global_progress.next_fetch_time = get_dht_time()
        if start:
            self.start()

    def _is_urgent(self) -> bool:
        resting = self.local_progress.samples_per_second == 0.0
        new_epoch = self.local_progress.samples_accumulated == 0
        return new_epoch or resting or self.shutdown_triggered.is_set()
