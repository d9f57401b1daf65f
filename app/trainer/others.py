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

from app import meeting, swarm
from app.protocol import Waiting

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""After them we train all the same: a door may be off for good."""

LOOK_SECONDS = 1.0
CALL_SECONDS = 10.0
"""A reply of hivemind's DHT process may be lost."""

Seen = tuple[frozenset[str], frozenset[str], frozenset[str]]
"""Doors that answer, trainers in the run's record, and those of them that answer."""


def see_others(
    dht: hivemind.DHT, *, doors: Iterable[str], run_id: str, report: Callable[[Waiting], None]
) -> None:
    """Return when all doors answer, and a trainer if there are any; or when that takes too long.

    doors: multiaddrs. report: told what we wait for, whenever that changes.
    """
    wanted = meeting.by_peer(doors)
    look = partial(_look, doors=wanted, run_id=run_id)
    deadline = time.monotonic() + PATIENCE_SECONDS
    said: Waiting | None = None
    while (waiting := _missing(len(wanted), *_answer(dht, look))) is not None:
        if waiting != said:
            report(waiting)
            said = waiting
        if time.monotonic() > deadline:
            log.warning("training without the others: %d of %d %s", *_words(waiting))
            return
        time.sleep(LOOK_SECONDS)


def _answer(dht: hivemind.DHT, look: Any) -> Seen:
    nobody: frozenset[str] = frozenset()
    try:
        seen: Seen = dht.run_coroutine(look, return_future=True).result(CALL_SECONDS)
    except Exception as error:  # noqa: BLE001  hivemind's calls fail in many ways
        log.warning("can't look for the others: %r", error)
        return nobody, nobody, nobody
    return seen


def _missing(
    doors: int, met: frozenset[str], trainers: frozenset[str], answer: frozenset[str]
) -> Waiting | None:
    if len(met) < doors:
        return Waiting(whom="doors", seen=len(met), known=doors)
    if trainers and not answer:
        return Waiting(whom="trainers", seen=0, known=len(trainers))
    return None


def _words(waiting: Waiting) -> tuple[int, int, str]:
    return waiting.seen, waiting.known, waiting.whom


async def _look(_dht: Any, node: Any, *, doors: Mapping[str, Iterable[str]], run_id: str) -> Seen:
    """In the DHT's process."""
    met = await meeting.meet(node, doors)
    found = await node.get(swarm.progress_key(run_id), latest=True)
    trainers = swarm.full_peers(found.value if found else None) - {node.peer_id.to_base58()}
    return met, trainers, await meeting.meet(node, dict.fromkeys(trainers, ()))
