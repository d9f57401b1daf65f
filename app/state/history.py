"""What charts and tables show of the past: curves, averaging rounds, and peers.

All of it is bounded in size. A `Series` keeps several rings of buckets, each twelve times coarser
than the one before: the last twelve minutes by the second, two weeks by the half-hour. A bucket
holds the mean of the values that fell into it; an empty bucket is a gap (NaN), not a zero.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from app.evaluation_messages import Evaluated
from app.p2p.sightings import PeerInfo, Run
from app.protocol import Progress, RoundEnded
from app.state.count_rate import CountRate
from app.state.events import Event, JoinBegan, PeersListed, RunObserved, TrainerGone
from app.state.facts import Problem

BUCKETS = 720
"""Buckets of a ring, and so the most points that a chart draws of a series."""

RESOLUTIONS = (1.0, 12.0, 144.0, 1728.0)
"""Seconds of a bucket: rings of 12 minutes, 2.4 hours, 29 hours and 14 days."""


Bucket = tuple[int, float, int]
"""The number of a bucket (its begin in seconds since the epoch, divided by its length), the sum of
its values and their count. A count of 0 marks a gap."""


@dataclass
class _Ring:
    resolution: float
    buckets: deque[Bucket] = field(default_factory=lambda: deque(maxlen=BUCKETS))
    interrupted: bool = False
    """What comes next doesn't continue the line."""

    def add(self, time: float, value: float) -> None:
        self.append((math.floor(time / self.resolution), value, 1))

    def append(self, bucket: Bucket) -> None:
        index, total, count = bucket
        last = self.buckets[-1] if self.buckets else None
        if last is not None and last[0] >= index:
            self.buckets[-1] = (last[0], last[1] + total, last[2] + count)
        else:
            if self.interrupted and last is not None and index > last[0] + 1:
                self.buckets.append((last[0] + 1, 0.0, 0))
            self.buckets.append(bucket)
        self.interrupted = False

    def restore(self, earlier: Iterable[Bucket]) -> None:
        later = tuple(self.buckets)
        self.buckets.clear()
        self.buckets.extend(earlier)
        self.interrupted = True
        for bucket in later:
            self.append(bucket)

    def points(self, since: float, gap: float) -> Iterable[tuple[float, float]]:
        previous: int | None = None
        for index, total, count in self.buckets:
            if (index + 1) * self.resolution <= since:
                continue
            if previous is not None and index - previous > gap:
                yield (previous + 1) * self.resolution, math.nan
            previous = index if count else None
            yield (index + 0.5) * self.resolution, total / count if count else math.nan


_GAP = 10.0
"""Up to this many empty buckets are bridged by the line: reports may come seconds apart."""


class Series:
    """One curve. Times are seconds since the epoch, and increase unless the clock is set back."""

    def __init__(self, resolutions: tuple[float, ...] = RESOLUTIONS, *, gap: float = _GAP) -> None:
        """gap: how many empty buckets the line bridges."""
        self._gap = gap
        self._rings = tuple(_Ring(resolution) for resolution in resolutions)

    def add(self, time: float, value: float | None) -> None:
        """Add a value. None, NaN and infinity leave a gap."""
        if value is None or not math.isfinite(value):
            return
        for ring in self._rings:
            ring.add(time, value)

    def since(self, time: float, now: float) -> tuple[list[float], list[float]]:
        """Times and values from ``time`` to ``now``, of the finest ring that reaches that far.

        Where nothing is known of the first part of that time, the ring need reach only as far as
        the first value: an hour of which a minute is known has that minute's seconds.
        """
        while True:
            ring = self._reaching(now - time)
            points = list(ring.points(time, self._gap))
            first = points[0][0] - ring.resolution / 2 if points else time
            if first <= time or self._reaching(now - first) is ring:
                return [x for x, _ in points], [y for _, y in points]
            time = first

    def _reaching(self, span: float) -> _Ring:
        """The finest ring that is sure to hold the last ``span`` seconds; else the coarsest."""
        fitting = (ring for ring in self._rings if span <= ring.resolution * BUCKETS)
        return next(fitting, self._rings[-1])

    def buckets(self, resolution: float, since: int = 0) -> list[Bucket]:
        """The buckets of one of the rings from number ``since`` on, oldest first."""
        ring = self._ring(resolution)
        newest = list(takewhile(lambda bucket: bucket[0] >= since, reversed(ring.buckets)))
        return newest[::-1]

    def restore(self, resolution: float, earlier: Iterable[Bucket]) -> None:
        """Put an earlier time's buckets, oldest first, before those of a ring; a gap follows."""
        self._ring(resolution).restore(earlier)

    def _ring(self, resolution: float) -> _Ring:
        return next(ring for ring in self._rings if ring.resolution == resolution)

    def clear(self) -> None:
        """Drop all points."""
        for ring in self._rings:
            ring.buckets.clear()
            ring.interrupted = False

    @property
    def first(self) -> float | None:
        """Time of the oldest bucket that is kept; None when the series is empty."""
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
    """One averaging round that we took part in."""

    time: float
    """When it ended, in seconds since the epoch."""
    epoch: int
    peers: int
    """Size of the group; 1 when nobody else took part."""
    seconds: float
    """How long it took."""
    samples: int
    """Our own samples that entered it."""
    failure: str
    """Empty when the round succeeded."""
    arrived: float
    """Share of the average's parts that came, 0 to 1."""
    bytes_sent: int = 0
    """In rounds since the one before."""


@dataclass
class Rounds:
    """The last rounds, and the sums over all rounds."""

    last: "deque[FinishedRound]" = field(default_factory=lambda: deque(maxlen=ROUNDS))
    """Oldest first."""
    count: int = 0
    """All rounds that our samples entered."""
    samples: int = 0
    """Our samples in all of them."""

    def add(self, ended: RoundEnded, now: float) -> None:
        """Add a round that ended at ``now``, in seconds since the epoch."""
        entry = FinishedRound(
            time=now,
            epoch=ended.epoch,
            peers=ended.peers,
            seconds=ended.seconds,
            samples=ended.samples,
            failure=ended.failure,
            arrived=ended.arrived,
            bytes_sent=ended.bytes_sent,
        )
        self.last.append(entry)
        self.count += entry.samples > 0
        self.samples += entry.samples

    @property
    def upload(self) -> float:
        """The most bytes/s that were sent from one to the next: what the line carries at least.
        0.0 without two of them."""
        rates = (
            after.bytes_sent / max(1.0, after.time - before.time)
            for before, after in pairwise(self.last)
        )
        return max(rates, default=0.0)

    def clear(self) -> None:
        """Drop all rounds, and set the sums to zero."""
        self.last.clear()
        self.count = self.samples = 0

    def __len__(self) -> int:
        return len(self.last)


@dataclass
class Mishaps:
    """What went wrong, counted."""

    crashes: int = 0
    """How often our trainers ended although nobody asked for it."""

    failed_rounds: int = 0
    """Averaging rounds of which we got nothing."""

    def clear(self) -> None:
        """Count from zero."""
        self.crashes = self.failed_rounds = 0

    def __len__(self) -> int:
        return self.crashes + self.failed_rounds


GONE_PEERS = 1000
GONE_SECONDS = 1800.0


@dataclass
class SeenPeers:
    """The peers of the last half-hour, by peer id."""

    here: dict[str, PeerInfo] = field(default_factory=dict)
    """Those connected now."""
    gone: dict[str, PeerInfo] = field(default_factory=dict)
    """Those that were connected before."""

    def add(self, peers: Iterable[PeerInfo], now: float) -> None:
        """Replace the peers that are connected; those that are missing now are gone."""
        before, self.here = self.here, {peer.peer_id: peer for peer in peers}
        for peer_id in self.here:
            self.gone.pop(peer_id, None)
        self.gone |= {peer_id: peer for peer_id, peer in before.items() if peer_id not in self.here}
        recent = [peer for peer in self.gone.values() if now - peer.last_seen < GONE_SECONDS]
        self.gone = {peer.peer_id: peer for peer in recent[-GONE_PEERS:]}

    def clear(self) -> None:
        """Drop all peers."""
        self.here, self.gone = {}, {}

    def __len__(self) -> int:
        return len(self.here) + len(self.gone)


@dataclass(frozen=True)
class History:
    """The past of the swarm that we are in; joining another one clears it."""

    loss: Series = field(default_factory=Series)
    """Our own, in nats per token."""
    swarm_loss: Series = field(default_factory=Series)
    """Mean over the swarm's trainers, in nats per token."""
    held_out_loss: Series = field(default_factory=lambda: Series(gap=math.inf))
    """Our own evaluations, in nats per token. They may be minutes apart: the line has no gaps."""
    swarm_held_out_loss: Series = field(default_factory=lambda: Series(gap=math.inf))
    """Mean over the swarm's trainers, in nats per token."""
    samples_per_second: Series = field(default_factory=Series)
    """Our own, of the clock's seconds: while we wait for others it falls to 0."""
    swarm_samples_per_second: Series = field(default_factory=Series)
    """The swarm's, of the clock's seconds, by what its trainers have published."""
    swarm_epoch: Series = field(default_factory=Series)
    """How far the run is: the epoch and, as its fraction, the part of its batch that is computed.
    The charts can run along it instead of time."""
    pace: CountRate = field(default_factory=CountRate)
    swarm_pace: CountRate = field(default_factory=CountRate)
    rounds: Rounds = field(default_factory=Rounds)
    mishaps: Mishaps = field(default_factory=Mishaps)
    peers: SeenPeers = field(default_factory=SeenPeers)

    @property
    def series(self) -> dict[str, Series]:
        """All curves, by the name of their field."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Series)}

    def record(self, event: Event, now: float, *, batch: int = 0) -> None:
        """Record what an event tells.

        now: seconds since the epoch. batch: samples of an epoch of the swarm that we are in; 0
        where that isn't known.
        """
        match event:
            case JoinBegan():
                for part in vars(self).values():
                    part.clear()
            case Progress(loss=loss, samples_per_second=rate, samples=samples):
                self.loss.add(now, loss)
                pace = self.pace.add(now, samples)
                rests = rate is None  # a pause is a gap, not a rate of 0
                self.samples_per_second.add(now, None if rests else pace)
            case Evaluated(loss=loss):
                self.held_out_loss.add(now, loss)
            case RunObserved(run=Run() as run):
                self.swarm_loss.add(now, run.loss)
                self.swarm_held_out_loss.add(now, run.held_out_loss)
                if batch:
                    count = run.epoch * batch + min(run.samples, batch)
                    self.swarm_samples_per_second.add(now, self.swarm_pace.add(now, count))
                    self.swarm_epoch.add(now, count / batch)
            case RoundEnded(failure=failure):
                self.rounds.add(event, now)
                self.mishaps.failed_rounds += bool(failure)
            case TrainerGone(problem=Problem()):
                self.mishaps.crashes += 1
            case PeersListed(peers=peers):
                self.peers.add(peers, now)
