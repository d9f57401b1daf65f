"""Who broke the bounds of averaging rounds: told to the trainer, and left out for a while.

Only what we saw ourselves counts, from a sender whose peer id libp2p has authenticated: nobody
can accuse another peer.
"""

import contextlib
import logging
import multiprocessing
import queue
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from app.common.rate_limit import RateLimit
from app.p2p.sightings import PartFault
from app.protocol import MemberAtFault

log = logging.getLogger(__name__)

NAMED_EVERY_SECONDS = 60.0
"""The log names a peer once in so many seconds for the same fault."""

EVICTING = frozenset(
    {
        PartFault.SHAPE,
        PartFault.NOT_FINITE,
        PartFault.WEIGHT,
        PartFault.GROUP,
    }
)
"""What only a hostile or broken peer does. A peer that lost its swarm for a while has other
parameters; a plain reducer returns the lie of a third member that it believed; who copied whom
can't be told; and a silent peer may be slow, or behind a bad line."""

STRIKES = 2
"""Rounds with such a fault until a peer is evicted; any peer may have one bad round."""

AGAINST_ROUNDS = 5
"""Rounds with a peer, one after the other, in which its gradient points against ours until it is
evicted. An honest one's may do so now and then: when it is an epoch behind and the loss bounces."""

STRIKE_SECONDS = 3600.0
"""How long a strike counts."""

EVICTION_SECONDS = 600.0

MOST_PEERS = 1000
"""Peers of which something is remembered; the one that offended longest ago is forgotten first."""

MOST_OFFENCES = 1000
"""That wait to be read; further ones are dropped."""


@dataclass(frozen=True, kw_only=True)
class Offence:
    """What a member of a round did."""

    peer_id: str
    fault: PartFault
    time: float
    """In seconds since the epoch."""
    evicted_until: float | None
    """In seconds since the epoch; None: it isn't evicted."""


class Offences:
    """Carries offences from hivemind's averager, a forked process, to the trainer."""

    def __init__(self) -> None:
        # like hivemind's averagers, its lock only goes from process to process by a fork
        self._queue: Any = multiprocessing.get_context("fork").Queue(MOST_OFFENCES)

    def add(self, offence: Offence) -> None:
        """From the averager's process."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(offence)

    def take(self) -> list[Offence]:
        """All that were added since the last call."""
        found = []
        while True:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """Nothing is added or taken after it."""
        self._queue.close()
        self._queue.cancel_join_thread()


def sentence(offence: Offence, *, what: str, epoch: int) -> str:
    """An offence for the log. what: ``gradients``, ``parameters`` or ``updates``."""
    said = f"the peer {offence.peer_id} {offence.fault.text}"
    said += f" when {what} were averaged, in epoch {epoch}"
    if offence.fault is PartFault.SILENT:
        return f"{said}: it may be slow or out of reach"
    if offence.evicted_until is None:
        return f"{said}: this part of it was left out"
    until = time.strftime("%H:%M", time.localtime(offence.evicted_until))
    return f"{said}: it shares no group with us until {until}"


class Naming:
    """Tells the app of each offence, and the log of the same one only now and then."""

    def __init__(self, report: Callable[[MemberAtFault], None]) -> None:
        self._report = report
        self._often = RateLimit(rate=1 / NAMED_EVERY_SECONDS, burst=1)

    def name(self, offence: Offence, *, what: str, epoch: int) -> None:
        """what: as `sentence` has it."""
        self._report(
            MemberAtFault(
                peer_id=offence.peer_id,
                fault=offence.fault,
                epoch=epoch,
                time=offence.time,
                evicted_until=offence.evicted_until,
            )
        )
        is_evicted = offence.evicted_until is not None
        if self._often.take(f"{offence.peer_id} {offence.fault} {is_evicted}") == 0.0:
            log.warning("%s", sentence(offence, what=what, epoch=epoch))


class Evictions:
    """The peers that share no group with us for a while. One averager's, in its process.

    clock: monotonic seconds. seconds: of an eviction.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, seconds: float = EVICTION_SECONDS
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._strikes: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._against: OrderedDict[str, set[bytes]] = OrderedDict()
        self._until: dict[str, float] = {}

    def note(self, peer_id: str, fault: PartFault, *, group_id: bytes) -> None:
        """Count a fault. group_id: of its round; several faults of one round count once."""
        if fault is PartFault.AGAINST:
            self._note_against(peer_id, group_id)
        if fault not in EVICTING:
            return
        now = self._clock()
        rounds = self._strikes.pop(peer_id, {}) | {group_id: now}
        rounds = {group: when for group, when in rounds.items() if now - when < STRIKE_SECONDS}
        if len(rounds) < STRIKES:
            self._strikes[peer_id] = rounds
            self._bound()
        else:
            self._until[peer_id] = now + self._seconds

    def _note_against(self, peer_id: str, group_id: bytes) -> None:
        rounds = self._against.pop(peer_id, set()) | {group_id}
        if len(rounds) < AGAINST_ROUNDS:
            self._against[peer_id] = rounds
            self._bound()
        else:
            self._until[peer_id] = self._clock() + self._seconds

    def end_round(self, group_id: bytes, members: Iterable[str]) -> None:
        """A round has ended: whoever didn't point against us in it has a clean sheet. members:
        those whose parts reached us."""
        for peer_id in members:
            if group_id not in self._against.get(peer_id, ()):
                self._against.pop(peer_id, None)

    def _bound(self) -> None:
        for known in (self._strikes, self._against):
            if len(known) > MOST_PEERS:
                known.popitem(last=False)
        now = self._clock()
        self._until = {peer_id: until for peer_id, until in self._until.items() if until > now}

    def seconds_left(self, peer_id: str) -> float:
        """How long a peer still shares no group with us; 0.0 for one that isn't evicted."""
        return max(0.0, self._until.get(peer_id, 0.0) - self._clock())

    def __contains__(self, peer_id: str) -> bool:
        return self.seconds_left(peer_id) > 0.0
