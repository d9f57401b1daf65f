"""Who broke the rules of a round: named, and kept out for a while if it goes on."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

from app.p2p.sightings import PartFault
from app.trainer.averaging.offences import Evictions, Offence

EVICTION_SECONDS = 3600.0
"""Rounds of these strategies are minutes apart."""


class Faults:
    """Names who broke the rules, once a round and fault. Any thread may call it."""

    def __init__(self, on_fault: Callable[[int, Offence], None]) -> None:
        """on_fault: called with the epoch of the round, in the thread that names the fault, one at
        a time."""
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._named: set[tuple[int, str, PartFault]] = set()
        self._evictions = Evictions(seconds=EVICTION_SECONDS)

    def name(self, epoch: int, peer_id: str, fault: PartFault) -> None:
        """A peer did something in the round of an epoch."""
        with self._lock:
            if (epoch, peer_id, fault) in self._named:
                return
            self._named.add((epoch, peer_id, fault))
            self._evictions.note(peer_id, fault, group_id=_group(epoch))
            left, now = self._evictions.seconds_left(peer_id), time.time()
            until = now + left if left else None
            self._on_fault(
                epoch, Offence(peer_id=peer_id, fault=fault, time=now, evicted_until=until)
            )

    def judge(self, epoch: int, members: Collection[str], faults: Mapping[str, PartFault]) -> None:
        """What the members of a round brought to it has been judged. faults: by peer id."""
        for peer_id, fault in faults.items():
            self.name(epoch, peer_id, fault)
        with self._lock:
            self._evictions.end_round(_group(epoch), members)

    def is_evicted(self, peer_id: str) -> bool:
        """A peer takes no part in rounds that we lead, and leads none of ours."""
        with self._lock:
            return peer_id in self._evictions

    def forget_before(self, epoch: int) -> None:
        """Rounds before an epoch are over."""
        with self._lock:
            self._named = {each for each in self._named if each[0] >= epoch}


def _group(epoch: int) -> bytes:
    return epoch.to_bytes(8, "big", signed=True)
