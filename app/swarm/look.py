"""A look at a swarm from outside, before joining it: whether anybody is there, and who.

It calls the invite's addresses, so that whoever wrote the invite sees ours: the user begins it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.p2p.meeting import by_peer
from app.p2p.scout import CallOutcome, Scout
from app.swarm.connection_check import MOST_ENTRIES, MakeScout
from app.swarm.fleet import Fleet, totals

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

AGAIN_SECONDS = 15.0
MOST_LOOKS = 40
"""Ten minutes; a dialog may be left open for days."""


@dataclass(frozen=True, kw_only=True)
class SeenFromOutside:
    """What a peer that isn't in the swarm sees of it."""

    called: int
    """Peers of the invite."""

    answered: int

    machines: int = 0
    """Those that show themselves."""

    of_lab: int = 0
    """Of these, who names our lab as its own. Anybody may."""

    training: int = 0
    """Peers that train, by the run's own records."""


async def look(
    spec: "SwarmSpec", *, lab: str, scout: MakeScout = Scout, every: float = AGAIN_SECONDS
) -> AsyncIterator[SeenFromOutside]:
    """Yield what is there, again and again; only once where nobody answers.

    lab: the setting. every: seconds from one look to the next. Raises `CallError` when no node can
    be started, or the swarm is lost.
    """
    entries = by_peer(dict.fromkeys(spec.initial_peers[:MOST_ENTRIES]))
    fleet = Fleet()
    async with scout(spec.run_id) as one:
        calls = await asyncio.gather(*(one.call(*each) for each in entries.items()))
        answered = sum(call.answer is CallOutcome.PEER for call in calls)
        if not answered:
            yield SeenFromOutside(called=len(entries), answered=0)
            return
        for _look in range(MOST_LOOKS):
            now = time.time()
            fleet.take(await one.machines(), now)
            known = fleet.machines(now)
            yield SeenFromOutside(
                called=len(entries),
                answered=answered,
                machines=totals(known).machines,
                of_lab=totals(each for each in known if lab and each.record.lab == lab).machines,
                training=await one.trainers(),
            )
            await asyncio.sleep(every)
