"""Events worth a line: a pure function from an event and the states around it."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.common.i18n import _
from app.protocol import RoundEnded
from app.state.events import (
    ConnectionChanged,
    Event,
    Joined,
    JoinFailed,
    LabCommanded,
    Left,
    TrainerGone,
)
from app.state.facts import Problem
from app.state.state import ContributorState, Phase

MOST = 500
"""Happenings that are kept, the newest."""


class HappeningKind(StrEnum):
    """What happened; the values stand in the file."""

    OPENED = "opened"  # the app
    CLOSED = "closed"
    JOINED = "joined"
    JOIN_FAILED = "join-failed"
    LEFT = "left"
    LOST = "lost"  # nobody of the swarm could be reached
    FOUND = "found"
    COMMANDED = "commanded"  # by the lab's admin
    STARTED = "started"  # training, as all below
    STOPPED = "stopped"
    COMPLETED = "completed"
    PAUSED = "paused"
    RESUMED = "resumed"
    ROUND_FAILED = "round-failed"
    CRASHED = "crashed"


TROUBLE = frozenset(
    {
        HappeningKind.JOIN_FAILED,
        HappeningKind.LOST,
        HappeningKind.ROUND_FAILED,
        HappeningKind.CRASHED,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """Something that happened."""

    time: float
    """In seconds since the epoch."""

    kind: HappeningKind

    detail: str = ""
    """Which swarm, or why: a name or a sentence in the language that the app had then."""

    @property
    def is_trouble(self) -> bool:
        """It may be somebody's fault, the network's or ours."""
        return self.kind in TROUBLE


class Timeline:
    """The newest happenings, oldest first. clock: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last: deque[Happening] = deque(maxlen=MOST)
        self._before = ContributorState()
        self.count = 0
        """How many there have been since the app was opened."""

    @property
    def last(self) -> tuple[Happening, ...]:
        """Those that are kept, oldest first."""
        return tuple(self._last)

    def __len__(self) -> int:
        return len(self._last)

    def note(self, event: Event, state: ContributorState) -> None:
        """Take an event of the store into account. state: after it."""
        before, self._before = self._before, state
        if (found := happening(event, before, state)) is not None:
            self.add(*found)

    def add(self, kind: HappeningKind, detail: str = "") -> None:
        """Add what happened now."""
        self._last.append(Happening(time=self._clock(), kind=kind, detail=detail))
        self.count += 1

    def restore(self, earlier: Iterable[Happening]) -> None:
        """Put happenings of earlier runs of the app before those of this one."""
        kept = [*earlier, *self._last]
        self._last.clear()
        self._last.extend(kept)

    def since(self, moment: float) -> tuple[Happening, ...]:
        """Those from a moment on, in seconds since the epoch."""
        return tuple(each for each in self._last if each.time >= moment)


def happening(
    event: Event, before: ContributorState, after: ContributorState
) -> tuple[HappeningKind, str] | None:
    """What an event is in the timeline, with its detail; None if it is no line there."""
    match event:
        case Joined() if before.phase is Phase.JOINING:
            return HappeningKind.JOINED, after.swarm.title if after.swarm is not None else ""
        case JoinFailed(problem=problem):
            return HappeningKind.JOIN_FAILED, problem.message
        case Left() if before.phase is not Phase.DISCONNECTED:
            return HappeningKind.LEFT, before.swarm.title if before.swarm is not None else ""
        case ConnectionChanged(reconnect_at=again):
            return _connection(lost=again is not None, was_lost=before.reconnect_at is not None)
        case LabCommanded(deed=deed):
            return HappeningKind.COMMANDED, deed.in_words
        case RoundEnded(epoch=epoch, failure=reason) if reason:
            text = _("epoch {epoch}: {reason}").format(epoch=epoch, reason=reason)
            return HappeningKind.ROUND_FAILED, text
        case TrainerGone(problem=Problem(message=message)):
            return HappeningKind.CRASHED, message
        case TrainerGone(completed=completed) if before.phase.has_trainer:
            return HappeningKind.COMPLETED if completed else HappeningKind.STOPPED, ""
    return _phase(before, after)


def _connection(*, lost: bool, was_lost: bool) -> tuple[HappeningKind, str] | None:
    if lost == was_lost:
        return None
    return HappeningKind.LOST if lost else HappeningKind.FOUND, ""


_RESTS = (Phase.PAUSED, Phase.WAITING)
_WORKS = (Phase.TRAINING, Phase.AVERAGING)


def _phase(before: ContributorState, after: ContributorState) -> tuple[HappeningKind, str] | None:
    if after.phase in _RESTS and before.phase not in _RESTS:
        return HappeningKind.PAUSED, " ".join(reason.text for reason in after.verdict.reasons)
    if after.phase in _WORKS and before.phase is Phase.PAUSED:
        return HappeningKind.RESUMED, ""
    if after.phase in _WORKS and before.phase is Phase.PREPARING:
        epoch = after.training.resumed_epoch if after.training is not None else None
        text = "" if epoch is None else _("from its checkpoint of epoch {epoch}")
        return HappeningKind.STARTED, text.format(epoch=epoch)
    return None
