"""Whether, and when, a trainer that ended unexpectedly is started again."""

import signal

from app.training.supervisor import Outcome

RESTART_SECONDS = (3.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Waits before a new start, longer with each that ended soon."""

STEADY_SECONDS = 60.0
"""A trainer that ran so long resets both counts."""

MOST_CRASHES = 4
"""Crashes in a row, each soon after the start, until it isn't started any more."""

OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
"""Signals that come from another program or the system; a process that crashes dies of others."""


class Patience:
    """A trainer that somebody ends from outside is started again as long as the app runs; one that
    crashes as soon as it starts is given up."""

    def __init__(self) -> None:
        self._ends = 0
        self._crashes = 0

    def wait_after(self, outcome: Outcome, *, lived: float) -> float | None:
        """Seconds to wait; None when it is given up. lived: seconds it ran."""
        if lived > STEADY_SECONDS:
            self._ends = self._crashes = 0
        self._ends += 1
        self._crashes += -outcome.returncode not in OUTSIDE
        if self._crashes >= MOST_CRASHES:
            return None
        return self._wait

    def wait_without_start(self) -> float:
        """Seconds to wait after a restart that came to nothing: there was no trainer to end."""
        self._ends += 1
        return self._wait

    @property
    def _wait(self) -> float:
        return RESTART_SECONDS[min(self._ends, len(RESTART_SECONDS)) - 1]

    @property
    def exhausted(self) -> bool:
        """It was given up."""
        return self._crashes >= MOST_CRASHES
