"""Watches this machine's clock: with a wrong one, the swarm's other peers can't work with it.

What a peer stores in the DHT carries the time at which it ends. hivemind refuses peers whose clock
is off when they enter, and notices nothing when a clock is set while they are in.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from app.common.i18n import _
from app.p2p import calls
from app.p2p.calls import CallError
from app.state.events import ProblemDismissed, ProblemRaised
from app.state.facts import Problem
from app.state.store import Store

log = logging.getLogger(__name__)

MOST_SECONDS = 3.0
"""How much hivemind lets two clocks differ (`MAX_DHT_TIME_DISCREPANCY_SECONDS`)."""

EVERY_SECONDS = 600.0
"""Between two comparisons of a clock that nobody set."""

JUMP_SECONDS = 1.0
"""More than the system's own corrections move a clock between two looks."""

MOST_ASKED = 5
"""Peers whose median counts: a single one may have a wrong clock itself."""


class ClockWatch:
    """Compares our clock with those of the peers that we are connected to.

    now: seconds since the epoch. running: seconds since the machine started, asleep or not.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float] = time.time,
        running: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._running = running or _running
        self._started = now() - self._running()
        self._due = 0.0
        self._told: Problem | None = None

    async def look(self, node: Any, connected: Sequence[str]) -> None:
        """Compare now if it is time, or if somebody has set our clock. Called every few seconds.

        node: our `DHTNode`. connected: ids of peers.
        """
        started = self._now() - self._running()
        if abs(started - self._started) > JUMP_SECONDS:
            log.warning("somebody has set the clock, by %+.1f s", started - self._started)
            self._due = 0.0
        self._started = started
        if not connected or self._running() < self._due:
            return
        asked = connected[:MOST_ASKED]
        found = await asyncio.gather(*(self._ahead_of(node, each) for each in asked))
        known = [each for each in found if each is not None]
        if known:
            self._due = self._running() + EVERY_SECONDS
            self._judge(statistics.median_low(known))

    async def _ahead_of(self, node: Any, peer_id: str) -> float | None:
        """How many seconds our clock is before a peer's; None without an answer."""
        asked = self._now()
        try:
            theirs = await calls.clock_of(node, peer_id)
        except CallError as error:
            log.debug("no time of another peer: %s", error)
            return None
        return (asked + self._now()) / 2 - theirs

    def _judge(self, ahead: float) -> None:
        told, self._told = self._told, None
        if abs(ahead) > MOST_SECONDS:
            self._told = Problem(
                message=_("{complaint}.").format(complaint=calls.clocks_apart(ahead)),
                remedy=_("Until it is right, other peers refuse what this machine sends."),
            )
            self._store.dispatch(ProblemRaised(problem=self._told))
        elif told is not None and self._store.state.problem == told:
            self._store.dispatch(ProblemDismissed())


def _running() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux only
    return time.clock_gettime(clock)
