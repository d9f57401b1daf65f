"""What the charts and tables show of the past: series of bounded size, finer for the recent
past, the averaging rounds, and the peers that were there.

A `Series` keeps several rings of buckets, each twelve times coarser than the one before, so
that ten minutes are there by the second and days by the quarter of an hour. A bucket holds
the mean of what fell into it; a bucket with nothing in it is a gap (NaN), not a zero.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.p2p.sightings import PeerInfo, Run
from app.protocol import Progress, RoundEnded
from app.state.events import Event, JoinBegan, PeersListed, RunObserved

BUCKETS = 720
"""Points of a ring, and so the most that a chart draws of a series."""

RESOLUTIONS = (1.0, 12.0, 144.0, 1728.0)
"""Seconds of a bucket: rings of 12 minutes, 2.4 hours, 29 hours and 14 days."""


@dataclass
class _Ring:
    resolution: float
    buckets: "deque[tuple[int, float, int]]" = field(default_factory=lambda: deque(maxlen=BUCKETS))

    def add(self, time: float, value: float) -> None:
        index = math.floor(time / self.resolution)
        if self.buckets and self.buckets[-1][0] >= index:
            last, total, count = self.buckets[-1]
            self.buckets[-1] = (last, total + value, count + 1)
        else:
            self.buckets.append((index, value, 1))

    def points(self, since: float) -> Iterable[tuple[float, float]]:
        previous: int | None = None
        for index, total, count in self.buckets:
            if (index + 1) * self.resolution <= since:
                continue
            if previous is not None and index - previous > _GAP:
                yield (previous + 1) * self.resolution, math.nan
            previous = index
            yield (index + 0.5) * self.resolution, total / count


_GAP = 10
"""Empty buckets that a line still bridges: a report may come every few seconds only."""


class Series:
    """One curve. Times are seconds since the epoch, ever increasing but for clock changes."""

    def __init__(self, resolutions: tuple[float, ...] = RESOLUTIONS) -> None:
        self._rings = tuple(_Ring(resolution) for resolution in resolutions)

    def add(self, time: float, value: float | None) -> None:
        """Put a value in; None and what isn't finite leave a gap."""
        if value is None or not math.isfinite(value):
            return
        for ring in self._rings:
            ring.add(time, value)

    def since(self, time: float, now: float) -> tuple[list[float], list[float]]:
        """Times and values from ``time`` to ``now``, from the finest ring that reaches so far."""
        for ring in self._rings:
            if now - time <= ring.resolution * BUCKETS or ring is self._rings[-1]:
                points = list(ring.points(time))
                return [x for x, _ in points], [y for _, y in points]
        raise AssertionError("a series has at least one ring")

    def clear(self) -> None:
        """Forget all points."""
        for ring in self._rings:
            ring.buckets.clear()

    @property
    def first(self) -> float | None:
        """Time of the oldest bucket that is kept; None when there is nothing."""
        coarsest = self._rings[-1]
        if not coarsest.buckets:
            return None
        reaching = next((r for r in self._rings if len(r.buckets) < BUCKETS), coarsest)
        return reaching.buckets[0][0] * reaching.resolution

    def __len__(self) -> int:
        return len(self._rings[0].buckets)


ROUNDS = 200
"""The last averaging rounds, kept for the table."""


@dataclass(frozen=True, kw_only=True)
class FinishedRound:
    """One averaging round of ours. time: when it ended; samples: own ones that entered it; the
    rest as in `protocol.RoundEnded`."""

    time: float
    epoch: int
    peers: int
    seconds: float
    samples: int
    failure: str


@dataclass
class Rounds:
    """The last rounds, oldest first, and the sums over all. count: those with our samples."""

    last: "deque[FinishedRound]" = field(default_factory=lambda: deque(maxlen=ROUNDS))
    count: int = 0
    samples: int = 0

    def add(self, ended: RoundEnded, now: float) -> None:
        """Take in a round."""
        entry = FinishedRound(
            time=now,
            epoch=ended.epoch,
            peers=ended.peers,
            seconds=ended.seconds,
            samples=ended.samples,
            failure=ended.failure,
        )
        self.last.append(entry)
        self.count += entry.samples > 0
        self.samples += entry.samples

    def clear(self) -> None:
        """Forget all rounds."""
        self.last.clear()
        self.count = self.samples = 0

    def __len__(self) -> int:
        return len(self.last)


GONE_PEERS = 1000
GONE_SECONDS = 1800.0


@dataclass
class SeenPeers:
    """The peers of the last half hour: those connected, and those that were."""

    here: dict[str, PeerInfo] = field(default_factory=dict)
    gone: dict[str, PeerInfo] = field(default_factory=dict)

    def add(self, peers: Iterable[PeerInfo], now: float) -> None:
        """These are connected now; the others are no longer."""
        before, self.here = self.here, {peer.peer_id: peer for peer in peers}
        for peer_id in self.here:
            self.gone.pop(peer_id, None)
        self.gone |= {peer_id: peer for peer_id, peer in before.items() if peer_id not in self.here}
        recent = [peer for peer in self.gone.values() if now - peer.last_seen < GONE_SECONDS]
        self.gone = {peer.peer_id: peer for peer in recent[-GONE_PEERS:]}

    def clear(self) -> None:
        """Forget all peers."""
        self.here, self.gone = {}, {}

    def __len__(self) -> int:
        return len(self.here) + len(self.gone)


@dataclass(frozen=True)
class History:
    """What the pages show of the swarm we are in."""

    loss: Series = field(default_factory=Series)
    swarm_loss: Series = field(default_factory=Series)
    samples_per_second: Series = field(default_factory=Series)
    swarm_samples_per_second: Series = field(default_factory=Series)
    rounds: Rounds = field(default_factory=Rounds)
    peers: SeenPeers = field(default_factory=SeenPeers)

    def record(self, event: Event, now: float) -> None:
        """Take in what an event says. now: seconds since the epoch."""
        match event:
            case JoinBegan():
                for part in vars(self).values():
                    part.clear()
            case Progress(loss=loss, samples_per_second=rate):
                self.loss.add(now, loss)
                self.samples_per_second.add(now, rate)
            case RunObserved(run=Run(loss=loss, samples_per_second=rate)):
                self.swarm_loss.add(now, loss)
                self.swarm_samples_per_second.add(now, rate)
            case RoundEnded():
                self.rounds.add(event, now)
            case PeersListed(peers=peers):
                self.peers.add(peers, now)
