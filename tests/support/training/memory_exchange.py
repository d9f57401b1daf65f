"""An `Exchange` among members in one process, for tests of strategies: no network, no hashes."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.p2p.sightings import PartFault
from app.trainer.exchange.exchange import (
    GoneRoundError,
    InterruptedRoundError,
    PeerBlob,
    Swap,
)


@dataclass
class MemoryHub:
    """Where the members meet. gather_seconds: how long those who come wait for the others."""

    gather_seconds: float = 60.0
    changed: threading.Condition = field(default_factory=threading.Condition)
    offers: dict[int, dict[str, PeerBlob]] = field(default_factory=dict)
    """By epoch and peer id."""

    fixed: dict[int, tuple[PeerBlob, ...]] = field(default_factory=dict)
    """The contributions that count, by epoch."""


class MemoryExchange:
    """One member. Each is used in a thread of its own."""

    def __init__(self, hub: MemoryHub, peer_id: str) -> None:
        self._hub = hub
        self._peer_id = peer_id
        self._interruptions = 0
        self.bytes_sent = self.bytes_sent_in_rounds = self.bytes_received = 0
        self.is_fetching = False
        self.faults: dict[str, PartFault] = {}

    def swap(self, *, epoch: int, blob: bytes, weight: float, expected: Collection[str]) -> Swap:
        """As `Exchange.swap`; a round is over when all who are expected are there."""
        hub, before = self._hub, self._interruptions
        everybody = {self._peer_id, *expected}
        with hub.changed:
            offers = hub.offers.setdefault(epoch, {})
            if epoch not in hub.fixed:
                offers[self._peer_id] = PeerBlob(peer_id=self._peer_id, weight=weight, blob=blob)
                hub.changed.notify_all()

            def is_over() -> bool:
                return (
                    epoch in hub.fixed or everybody <= offers.keys() or self._interruptions > before
                )

            hub.changed.wait_for(is_over, timeout=hub.gather_seconds)
            if self._interruptions > before:
                raise InterruptedRoundError("interrupted")
            counted = hub.fixed.setdefault(epoch, tuple(offers[each] for each in sorted(offers)))
            hub.changed.notify_all()
        others = sum(len(each.blob) for each in counted if each.peer_id != self._peer_id)
        self.bytes_received += others
        self.bytes_sent += len(blob) if len(everybody) > 1 else 0
        return Swap(contributions=counted, epoch=epoch)

    def fetch(self, *, epoch: int, members: Collection[str], seconds: float | None = None) -> Swap:
        """As `Exchange.fetch`."""
        hub, before = self._hub, self._interruptions
        with hub.changed:
            hub.changed.wait_for(
                lambda: epoch in hub.fixed or self._interruptions > before, timeout=seconds
            )
            if self._interruptions > before:
                raise InterruptedRoundError("interrupted")
            if epoch not in hub.fixed:
                raise GoneRoundError("nobody has the round")
            counted = hub.fixed[epoch]
        return Swap(contributions=counted, epoch=epoch)

    def judge(self, swap: Swap, faults: Mapping[str, PartFault]) -> None:
        """As `Exchange.judge`."""
        self.faults |= faults

    def interrupt(self) -> None:
        """As `Exchange.interrupt`."""
        with self._hub.changed:
            self._interruptions += 1
            self._hub.changed.notify_all()

    def close(self) -> None:
        """As `Exchange.close`."""
        self.interrupt()
