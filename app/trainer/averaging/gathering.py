"""Gathering a group: whom its leader waits for, and when a search is in vain."""

import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent import futures

from hivemind.averaging.control import AveragingStage, StepControl


class Mates:
    """The peers that we expect in our next group, by peer id (base58)."""

    def __init__(self) -> None:
        self.awaited: frozenset[str] = frozenset()
        """A group that we lead is whole with them."""
        self._members: frozenset[str] = frozenset()
        self._absent: frozenset[str] = frozenset()

    def expect(self, mates: frozenset[str], *, others: frozenset[str]) -> bool:
        """Await who computes in our epoch; returns whether that has changed.

        mates: in our epoch, by their records. others: in any; of these, a member of our last
        group is in our epoch too, and its record only old.
        """
        before = self.awaited
        self.awaited = (mates | self._members & others) - self._absent
        return self.awaited != before

    def came(self, members: Iterable[str]) -> None:
        """The members of a round's group, none when there was none. Who was awaited in vain isn't
        awaited in the next round: a dead peer's record stays for a while."""
        self._members = frozenset(members)
        self._absent = self.awaited - self._members if self._members else frozenset()


def searches(control: StepControl) -> bool:
    """Whether a round has no group yet."""
    before = (AveragingStage.IDLE, AveragingStage.LOOKING_FOR_GROUP)
    return not control.done() and control.stage in before


def gave_up(
    control: StepControl, is_in_vain: Callable[[], bool], *, every: float, most: float
) -> bool:
    """Wait until a round has a group, or has ended; cancel it when its search is in vain.

    is_in_vain: asked ``every`` so many seconds; ``most``: seconds to wait. Returns whether the
    round was cancelled.
    """
    deadline = time.monotonic() + most
    while searches(control) and time.monotonic() < deadline:
        with contextlib.suppress(futures.TimeoutError, futures.CancelledError):
            control.exception(every)
        if searches(control) and is_in_vain():
            control.cancel()
            return True
    return False
