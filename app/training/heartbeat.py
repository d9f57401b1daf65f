"""Notices when a trainer falls silent, finds out why, and says so."""

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum, auto

import psutil

from app.common.i18n import _
from app.protocol import TrainerWarning

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0

SILENT_SECONDS = 10.0
"""A trainer that trains reports every half second, whatever its training thread waits for."""

LOST_SECONDS = 300.0
"""A trainer that was silent for so long is ended, and started anew like one that died."""

STARVED_SHARE = 0.2
"""A process that wants to compute gets less than this of the time: others have all cores."""


class _Condition(Enum):
    STOPPED = auto()
    STARVED = auto()
    STUCK = auto()  # none of the others
    GONE = auto()


class Heartbeat:
    """Watches one trainer from `watch` until that is cancelled.

    report: called with a `TrainerWarning` while the trainer is silent, and when it speaks again.
    end: ends the trainer. look_too: called at each look.
    """

    def __init__(
        self,
        pid: int,
        *,
        report: Callable[[TrainerWarning], None],
        end: Callable[[], None],
        look_too: Callable[[], None],
    ) -> None:
        self._pid = pid
        self._report = report
        self._end = end
        self._look_too = look_too
        self._heard = time.monotonic()
        self._computed = 0.0
        self._looked = self._heard
        self._told = ""
        self.regular = False

    def beat(self, *, regular: bool) -> None:
        """The trainer has reported. regular: from now on it reports every half second; before,
        while it prepares, it has nothing to tell for minutes."""
        self._heard, self.regular = time.monotonic(), regular
        self._tell("")

    async def watch(self) -> None:
        """Look at the trainer every other second."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Judge the trainer's silence so far."""
        self._look_too()
        condition = self._condition()
        silence = time.monotonic() - self._heard
        if condition is _Condition.GONE or silence < SILENT_SECONDS:
            return
        if condition is _Condition.STUCK and not self.regular:
            self._tell("")  # it works on something that takes long
            return
        if silence >= LOST_SECONDS and condition is not _Condition.STARVED:
            log.warning("a trainer was silent for %.0f s and is ended", silence)
            self._end()
            return
        self._tell(*_said(condition))

    def _condition(self) -> _Condition:
        try:
            process = psutil.Process(self._pid)
            status, times = process.status(), process.cpu_times()
        except psutil.Error:
            return _Condition.GONE
        now, computed = time.monotonic(), times.user + times.system
        share = (computed - self._computed) / max(now - self._looked, 1e-3)
        self._looked, self._computed = now, computed
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            return _Condition.STOPPED
        is_willing = status == psutil.STATUS_RUNNING
        return _Condition.STARVED if is_willing and share < STARVED_SHARE else _Condition.STUCK

    def _tell(self, message: str, remedy: str = "") -> None:
        if message == self._told:
            return
        self._told = message
        if message:
            log.warning("%s", message)
        self._report(TrainerWarning(topic="silent", message=message, remedy=remedy))


def _said(condition: _Condition) -> tuple[str, str]:
    """What is wrong, and what comes of it."""
    anew = _("After {minutes} minutes without a sign of life it is started anew.").format(
        minutes=round(LOST_SECONDS / 60)
    )
    match condition:
        case _Condition.STOPPED:
            return _("The trainer was halted by another program, and computes nothing."), anew
        case _Condition.STARVED:
            return (
                _("Other programs use the whole processor: training hardly gets any time."),
                _("It goes on by itself when they end."),
            )
        case _:
            return _("The trainer doesn't answer."), anew
