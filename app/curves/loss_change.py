"""How a run's loss changed in a time, from the curves that are kept of it."""

import math
from dataclasses import dataclass

from app.state.history import BUCKETS, History, Series

FEWEST = 20
"""Points of the training loss, which is noisy: with fewer, its ends say nothing."""

_END = 20
"""The training loss at either end is the mean of its points ÷ this."""

_LEAST_SLACK = 60.0
"""Seconds: an evaluation is known a little later than the round that it is of."""


@dataclass(frozen=True, kw_only=True)
class LossChange:
    """A loss at the begin and at the end of a time, in nats per token."""

    before: float
    after: float

    unseen: bool
    """On text that nobody trains on; else the loss of training."""

    points: tuple[tuple[float, float], ...]
    """Those between: times in seconds since the epoch, ascending, and losses."""


def loss_change(history: History, *, since: float, until: float, now: float) -> LossChange | None:
    """The best known loss between two times; None where too little is known.

    This machine's own evaluations are taken rather than the swarm's, and both rather than the loss
    of training. Times are seconds since the epoch.
    """
    for series in (history.held_out_loss, history.swarm_held_out_loss):
        points = _between(series, since, until, now)
        if len({loss for _time, loss in points}) > 1:  # the swarm's is told again until it changes
            return LossChange(
                before=points[0][1], after=points[-1][1], unseen=True, points=tuple(points)
            )
    for series in (history.swarm_loss, history.loss):
        points = _between(series, since, until, now)
        if len(points) >= FEWEST:
            end = len(points) // _END
            return LossChange(
                before=_mean(points[:end]),
                after=_mean(points[-end:]),
                unseen=False,
                points=tuple(points),
            )
    return None


def _between(series: Series, since: float, until: float, now: float) -> list[tuple[float, float]]:
    slack = max(_LEAST_SLACK, (now - since) / BUCKETS)  # older points are means of longer times
    return [
        (time, value)
        for time, value in zip(*series.since(since, now), strict=True)
        if math.isfinite(value) and time <= until + slack
    ]


def _mean(points: list[tuple[float, float]]) -> float:
    return sum(value for _time, value in points) / len(points)
