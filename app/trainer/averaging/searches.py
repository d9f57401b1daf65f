"""Keep each search for a group alive until it has ended, and end those that are cancelled."""

import asyncio
import functools
from typing import Any

from hivemind.averaging.control import StepControl
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.utils import MPFuture

_searches: "set[asyncio.Task[Any] | None]" = set()


def keep_searches() -> None:
    """Hold a reference to each search, in all averagers that start after this call.

    WORKAROUND (hivemind 1.1.12): a round that is cancelled drops the only reference to the task
    that searches a group, while that task still says goodbye to its leader. When Python collects
    the task before it has ended, the locks that it holds are never released, and this averager
    finds no group again.
    """
    search = Matchmaking.look_for_group
    if hasattr(search, "__wrapped__"):
        return

    @functools.wraps(search)
    async def kept(self: Matchmaking, step: StepControl) -> Any:
        task = asyncio.current_task()
        _searches.add(task)
        try:
            return await search(self, step)
        finally:
            _searches.discard(task)

    setattr(Matchmaking, search.__name__, kept)


def cancel_in_order() -> None:
    """Mark a round as cancelled before its averager is told of it, for all rounds of this process.

    WORKAROUND (hivemind 1.1.12): a round first tells the averager's process, and is marked then. On
    a busy machine the averager may look in between, sees a round that goes on, and looks no more:
    it takes part in the next group, with what was to be averaged before and for nobody, while the
    next round looks for a group in vain.
    """
    cancel = StepControl.cancel
    if hasattr(cancel, "__wrapped__"):
        return

    @functools.wraps(cancel)
    def in_order(self: StepControl) -> bool:
        is_cancelled: bool = MPFuture.cancel(self)
        told, trigger = self._cancel, self._trigger
        if is_cancelled and told is not None and trigger is not None and not told.done():
            told.set_result(None)
            trigger.cancel()
        return is_cancelled

    setattr(StepControl, cancel.__name__, in_order)
