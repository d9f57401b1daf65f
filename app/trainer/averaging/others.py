"""Before the first step: see the others, so that a swarm doesn't train in two parts.

Peers that start at the same time may each enter by another door, while the doors don't know each
other yet (hivemind#624). Whoever has seen all doors has joined their networks, and then knows
who trains already.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import hivemind

from app.p2p import meeting
from app.p2p import run_records as swarm
from app.protocol import Waiting

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""After them we train all the same: a door may be off for good."""

LOOK_SECONDS = 1.0
REPLY_SECONDS = 15.0
"""A reply of hivemind's DHT process may be lost."""


def see_others(
    dht: hivemind.DHT, *, doors: Iterable[str], run_id: str, report: Callable[[Waiting], None]
) -> None:
    """Return when all doors answer, and a trainer if there are any; or when that takes too long.

    doors: multiaddrs. report: told what we wait for, whenever that changes.
    """
    by_id = meeting.by_peer(doors)
    look = partial(_look, doors=by_id, run_id=run_id)
    deadline = time.monotonic() + PATIENCE_SECONDS
    said: Waiting | None = None
    while (missing := _answer(dht, look, len(by_id))) is not None:
        if missing != said:
            report(missing)
            said = missing
        if time.monotonic() > deadline:
            log.warning("not all of the swarm answers, we train all the same: %s", missing)
            return
        time.sleep(LOOK_SECONDS)


def _answer(dht: hivemind.DHT, look: Any, doors: int) -> Waiting | None:
    try:
        missing: Waiting | None = dht.run_coroutine(look, return_future=True).result(REPLY_SECONDS)
    except Exception as error:  # noqa: BLE001  hivemind's calls fail in many ways
        log.warning("can't look for the others: %r", error)
        return Waiting(whom="doors", seen=0, known=doors) if doors else None
    return missing


async def _look(
    _dht: Any, node: Any, *, doors: Mapping[str, Iterable[str]], run_id: str
) -> Waiting | None:
    """Who is still missing. In the DHT's process."""
    met = await meeting.meet(node, doors)
    if len(met) < len(doors):
        return Waiting(whom="doors", seen=len(met), known=len(doors))
    record = await node.get(swarm.progress_key(run_id), latest=True)
    trainers = swarm.full_peers(record and record.value) - {node.peer_id.to_base58()}
    if trainers and not await meeting.meet(node, dict.fromkeys(trainers, ())):
        return Waiting(whom="trainers", seen=0, known=len(trainers))
    return None
