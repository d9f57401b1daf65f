"""hivemind's progress tracker, with fewer records a second and less trust in what it reads."""

import math
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from hivemind.optim.progress_tracker import GlobalTrainingProgress, ProgressTracker
from hivemind.p2p import PeerID
from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time

from app.p2p.guards.records import unforged
from app.p2p.plausible import agreed_epoch, plausible_rates
from app.trainer.averaging.seen import SwarmProgress

PACE_SECONDS = 1.0
"""The shortest time between two records of our progress within an epoch."""

LOOK_SECONDS = 5.0
"""How long the DHT may take to say how far the others are."""

SHORTEST_EPOCH = 0.5
"""Seconds. With shorter epochs hivemind's groups don't form."""


class _PacedEvent(threading.Event):
    """An event that ignores `set` for `PACE_SECONDS` after the last one, unless it is urgent."""

    def __init__(self, is_urgent: Callable[[], bool]) -> None:
        super().__init__()
        self._is_urgent = is_urgent
        self._set_at = 0.0

    def set(self) -> None:
        now = time.monotonic()
        if self._is_urgent() or now - self._set_at >= PACE_SECONDS:
            self._set_at = now
            super().set()


class PacedTracker(ProgressTracker):
    """Publishes our progress about once a second, and at once when a new epoch begins.

    hivemind's tracker signs and stores a record after every micro-batch, which costs the DHT
    process some 15 ms of CPU each time.

    Of what others publish it believes what most of them say (`app.p2p.plausible`): hivemind's
    tracker follows whichever record claims the highest epoch, and throws our work away for it.
    """

    def __init__(self, **options: Any) -> None:
        start = options.pop("start")
        self._in_step = 0, time.monotonic()
        self._left_out: dict[bytes, float] = {}
        self.others: frozenset[str] = frozenset()
        """Peer ids (base58) of the run's other trainers that compute, as their last records say."""
        self.callable: frozenset[str] = frozenset()
        """Those of them that can be called."""
        self.mates: frozenset[str] = frozenset()
        """Those of the others that are in our epoch."""
        super().__init__(**options, start=False)
        self.should_report_progress = _PacedEvent(self._is_urgent)
        # hivemind's tracker reads the others' progress for the first time after 3 s.
        self.global_progress.next_fetch_time = get_dht_time()
        if start:
            self.start()

    def swarm_samples(self, own: int) -> int:
        """Samples of all peers in the epoch that ends, as far as their records say. own: ours."""
        seen = self.global_progress
        heard = seen.samples_accumulated if seen.epoch == self.local_progress.epoch else 0
        return int(max(own, heard, seen.target_batch_size))

    def seen(self, *, epoch: int) -> SwarmProgress:
        """The run as its records last said. epoch: of our model. Any thread may ask."""
        seen = self.global_progress
        eta = seen.eta_next_epoch - get_dht_time()
        return SwarmProgress(
            epoch=max(epoch, seen.epoch),
            own_samples=self.local_progress.samples_accumulated,
            swarm_samples=min(seen.samples_accumulated, seen.target_batch_size),
            target_batch_size=seen.target_batch_size,
            peers=max(1, seen.num_peers),
            eta=max(0.0, eta) if eta < 10**7 else None,
        )

    def look(self) -> int:
        """The epoch that most peers are in now, 0 where nobody says; for the thread that has paused
        the updates."""
        asked: Any = self.dht.get(self.training_progress_key, latest=True, return_future=True)
        try:
            found = asked.result(LOOK_SECONDS)
        except futures.TimeoutError:
            return 0
        said = found.value if found is not None else None
        return int(self._parse_swarm_progress_data(said).epoch)

    def rest(self) -> None:
        """Publish a rate of zero: from a resting peer's old rate, the others would reckon that
        their epoch ends too early."""
        resting = {"samples_per_second": 0.0, "time": get_dht_time()}
        self.local_progress = self.local_progress.copy(update=resting)
        self.should_report_progress.set()

    def leave_out(self, peer_id: str, *, until: float) -> None:
        """Count nothing of a peer: it shares no group with us, so its samples are not in the
        average and would only end our epochs too early.

        peer_id: in base58. until: in seconds since the epoch.
        """
        now = time.time()
        still = {each: end for each, end in self._left_out.items() if end > now}
        self._left_out = still | {PeerID.from_base58(peer_id).to_bytes(): until}

    def _is_urgent(self) -> bool:
        resting = self.local_progress.samples_per_second == 0.0
        new_epoch = self.local_progress.samples_accumulated == 0
        return new_epoch or resting or self.shutdown_triggered.is_set()

    def _parse_swarm_progress_data(self, metadata: Any) -> GlobalTrainingProgress:
        """Sum up the others' records, each within its bounds."""
        said = metadata.items() if isinstance(metadata, dict) else ()
        entries = unforged((subkey, entry.value) for subkey, entry in said if entry.value)
        believed: Any = dict(enumerate(self._believed(entries)))  # hivemind's annotation is wrong
        return super()._parse_swarm_progress_data(believed)

    def _highest_epoch(self) -> float:
        """Where a swarm can have got to since we were last in step with it: an epoch takes
        `SHORTEST_EPOCH` at least. A newcomer, which was never in step, can't tell."""
        epoch, now = self.local_progress.epoch, time.monotonic()
        if epoch != self._in_step[0]:
            self._in_step = epoch, now
        return epoch + 1 + (now - self._in_step[1]) / SHORTEST_EPOCH if epoch else math.inf

    def _believed(self, entries: list[dict[str, Any]]) -> list[ValueWithExpiration[Any]]:
        """A peer that claims an epoch too far ahead counts as one that begins the agreed one."""
        own = self.local_progress
        now = time.time()
        entries = [
            entry
            for entry in entries
            if entry["epoch"] <= self._highest_epoch()
            and self._left_out.get(entry["peer_id"], 0.0) <= now
        ]
        others = [entry for entry in entries if entry["peer_id"] != own.peer_id]
        claims = (entry["epoch"] for entry in others if not entry["client_mode"])
        epoch = agreed_epoch(claims, own=own.epoch)
        computing = {
            PeerID(entry["peer_id"]).to_base58(): entry["epoch"]
            for entry in others
            if entry["samples_per_second"] > 0.0
        }
        self.others = frozenset(computing)
        self.callable = self.others - {
            PeerID(entry["peer_id"]).to_base58() for entry in others if entry["client_mode"]
        }
        self.mates = frozenset(peer for peer, at in computing.items() if at == own.epoch)
        rates = plausible_rates([entry["samples_per_second"] for entry in entries])
        believed = []
        for entry, rate in zip(entries, rates, strict=True):
            is_ahead = entry["epoch"] > epoch
            samples = 0 if is_ahead else min(entry["samples_accumulated"], self.target_batch_size)
            changes = {
                "epoch": min(entry["epoch"], epoch),
                "samples_accumulated": samples,
                "samples_per_second": rate,
            }
            believed.append(ValueWithExpiration(entry | changes, math.inf))
        return believed
