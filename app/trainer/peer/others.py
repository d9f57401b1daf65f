"""Before the first step: wait for the other peers, so that a swarm doesn't train in two parts.

Peers that start at the same time may enter by different doors while the doors don't know each
other yet (hivemind#624). A peer that has reached all doors has joined their networks into one,
and finds in it the record of who trains already.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import hivemind

from app.p2p import meeting, run_records
from app.p2p.calls import CallError, hivemind_errors
from app.protocol import Waiting

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""How long to wait for the others. After that we train without them: a door may be off for good."""

LOOK_SECONDS = 1.0
"""The time between two looks."""

REPLY_SECONDS = 15.0
"""How long to wait for the DHT process, whose reply may get lost."""


def see_others(
    dht: hivemind.DHT, *, doors: Iterable[str], run_id: str, report: Callable[[Waiting], None]
) -> None:
    """Return when all doors answer, and a trainer if there is one, or after `PATIENCE_SECONDS`.

    doors: multiaddrs. report: called with what we wait for, whenever that changes.
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
        with hivemind_errors():
            answer: Waiting | None = dht.run_coroutine(look, return_future=True).result(
                REPLY_SECONDS
            )
    except CallError as error:
        log.warning("can't look for the others: %s", error)
        return Waiting(whom="doors", seen=0, known=doors) if doors else None
    return answer


async def _look(
    _dht: Any, node: Any, *, doors: Mapping[str, Iterable[str]], run_id: str
) -> Waiting | None:
    """Who is still missing, or None. Runs in the DHT process."""
    met = await meeting.meet(node, doors)
    if len(met) < len(doors):
        return Waiting(whom="doors", seen=len(met), known=len(doors))
    record = await node.get(run_records.progress_key(run_id), latest=True)
    trainers = run_records.full_peers(record and record.value) - {node.peer_id.to_base58()}
    if trainers and not await meeting.meet(node, dict.fromkeys(trainers, ())):
        return Waiting(whom="trainers", seen=0, known=len(trainers))
    return None
