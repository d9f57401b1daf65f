"""Keep each search for a group alive until it has ended."""

import asyncio
import functools
from typing import Any

from hivemind.averaging.control import StepControl
from hivemind.averaging.matchmaking import Matchmaking

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
