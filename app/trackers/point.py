"""What is new since the last look: the means of the charts' curves, and how far the run is."""

import math
from dataclasses import dataclass

from app.common.plain import one_line, several_lines
from app.p2p.sightings import Run
from app.state.history import RESOLUTIONS, History, Series
from app.state.state import ContributorState

MOST_OF_A_PROMPT = 100
"""Characters of a prompt that name what was written after it."""

OWN, SWARM = "this_machine", "swarm"
"""Second parts of a value's name. TensorBoard shows in one group what has the same first part."""


@dataclass(frozen=True, kw_only=True)
class TrackedText:
    """What the model wrote after a prompt."""

    name: str
    """Such as ``samples/Once upon a time``."""

    step: int
    """Of the weights, in the same count as `TrackedPoint.step`."""

    text: str
    """Prompt and continuation, in lines that are plain text."""


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

    texts: tuple[TrackedText, ...] = ()


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
        """What has come since the last call; None when no curve has got a value and nothing was
        written.

        The second that isn't over is left for the next call.
        """
        new = range(self._since, max(self._since, math.floor(now)))
        self._since = new.stop
        means = {_tag(name): _mean(each, new) for name, each in self._history.series.items()}
        values = {tag: mean for tag, mean in means.items() if mean is not None}
        texts = _texts(state, new)
        if not values and not texts:
            return None
        self._step = max(self._step, _samples(state))
        return TrackedPoint(
            time=now, step=self._step, values=values | _progress(state, new), texts=texts
        )


def _tag(series: str) -> str:
    name = series.removeprefix("swarm_")
    return f"{name}/{OWN if name == series else SWARM}"


def _mean(series: Series, new: range) -> float | None:
    finest = [bucket for bucket in series.buckets(RESOLUTIONS[0], new.start) if bucket[0] in new]
    count = sum(bucket[2] for bucket in finest)
    return sum(bucket[1] for bucket in finest) / count if count else None


def _samples(state: ContributorState) -> int:
    batch = state.swarm.target_batch_size if state.swarm is not None else 0
    run = state.run or Run()
    return run.epoch * batch + min(run.samples, batch)


def _texts(state: ContributorState, new: range) -> tuple[TrackedText, ...]:
    batch = state.swarm.target_batch_size if state.swarm is not None else 0
    return tuple(
        TrackedText(
            name=f"samples/{one_line(sample.prompt, most=MOST_OF_A_PROMPT)}",
            step=sample.epoch * batch,
            text=several_lines(sample.prompt + sample.text),
        )
        for sample in state.samples
        if math.floor(sample.time) in new
    )


def _progress(state: ContributorState, new: range) -> dict[str, float]:
    """What no chart shows over time."""
    run, training, evaluation = state.run, state.training, state.evaluation
    found: dict[str, float] = {}
    if run is not None:
        found |= {f"epoch/{SWARM}": run.epoch, f"trainers/{SWARM}": run.trainers}
    if training is not None and training.tokens_per_second is not None:
        found[f"tokens_per_second/{OWN}"] = training.tokens_per_second
    if evaluation is not None and math.floor(evaluation.time) in new:
        found[f"held_out_bits_per_byte/{OWN}"] = evaluation.bits_per_byte
    return found
