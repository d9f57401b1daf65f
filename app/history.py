"""What the charts show: series of bounded size, finer for the recent past.

A `Series` keeps several rings of buckets, each twelve times coarser than the one before, so
that ten minutes are there by the second and days by the quarter of an hour. A bucket holds
the mean of what fell into it; a bucket with nothing in it is a gap (NaN), not a zero.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.protocol import Progress
from app.state import Event, JoinBegan, Run, RunObserved

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


@dataclass(frozen=True)
class History:
    """The curves of the overview."""

    loss: Series = field(default_factory=Series)
    swarm_loss: Series = field(default_factory=Series)
    samples_per_second: Series = field(default_factory=Series)
    swarm_samples_per_second: Series = field(default_factory=Series)

    def record(self, event: Event, now: float) -> None:
        """Take in what an event says. now: seconds since the epoch."""
        match event:
            case JoinBegan():
                for series in vars(self).values():
                    series.clear()
            case Progress(loss=loss, samples_per_second=rate):
                self.loss.add(now, loss)
                self.samples_per_second.add(now, rate)
            case RunObserved(run=Run(loss=loss, samples_per_second=rate)):
                self.swarm_loss.add(now, loss)
                self.swarm_samples_per_second.add(now, rate)
