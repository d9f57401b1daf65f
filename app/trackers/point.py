"""What is new since the last look: the means of the charts' curves, and how far the run is."""

import math
from dataclasses import dataclass

from app.p2p.sightings import Run
from app.state.history import RESOLUTIONS, History, Series
from app.state.state import ContributorState

OWN, SWARM = "this_machine", "swarm"
"""Second parts of a value's name. TensorBoard shows in one group what has the same first part."""


@dataclass(frozen=True, kw_only=True)
class TrackedPoint:
    """Values of one moment."""

    time: float
    """In seconds since the epoch."""

    step: int
    """Samples that the swarm has trained on since the run began, as far as this machine knows. It
    never falls, also when the swarm goes back to a checkpoint."""

    values: dict[str, float]
    """By name, such as ``loss/this_machine``."""


class Collector:
    """Takes from a run's history and state what is new.

    since: the moment from which on values count, in seconds since the epoch.
    """

    def __init__(self, history: History, *, since: float) -> None:
        self._history = history
        self._since = math.floor(since)
        self._step = 0

    def restart(self) -> None:
        """Another run begins."""
        self._step = 0

    def take(self, state: ContributorState, now: float) -> TrackedPoint | None:
        """What has come since the last call; None when no curve has got a value.

        The second that isn't over is left for the next call.
        """
        since, self._since = self._since, max(self._since, math.floor(now))
        means = {
            _tag(name): _mean(series, since, self._since)
            for name, series in self._history.series.items()
        }
        values = {tag: mean for tag, mean in means.items() if mean is not None}
        if not values:
            return None
        self._step = max(self._step, _samples(state))
        return TrackedPoint(
            time=now, step=self._step, values=values | _progress(state, evaluated_since=since)
        )


def _tag(series: str) -> str:
    name = series.removeprefix("swarm_")
    return f"{name}/{OWN if name == series else SWARM}"


def _mean(series: Series, since: int, until: int) -> float | None:
    finest = [bucket for bucket in series.buckets(RESOLUTIONS[0], since) if bucket[0] < until]
    count = sum(bucket[2] for bucket in finest)
    return sum(bucket[1] for bucket in finest) / count if count else None


def _samples(state: ContributorState) -> int:
    batch = state.swarm.target_batch_size if state.swarm is not None else 0
    run = state.run or Run()
    return run.epoch * batch + min(run.samples, batch)


def _progress(state: ContributorState, *, evaluated_since: float) -> dict[str, float]:
    """What no chart shows over time."""
    run, training, evaluation = state.run, state.training, state.evaluation
    found: dict[str, float] = {}
    if run is not None:
        found |= {f"epoch/{SWARM}": run.epoch, f"trainers/{SWARM}": run.trainers}
    if training is not None and training.tokens_per_second is not None:
        found[f"tokens_per_second/{OWN}"] = training.tokens_per_second
    if evaluation is not None and evaluation.time >= evaluated_since:
        found[f"held_out_bits_per_byte/{OWN}"] = evaluation.bits_per_byte
    return found
