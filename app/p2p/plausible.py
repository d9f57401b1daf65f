"""What is plausible of a swarm, where each of its peers may be wrong or lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, median_low
from typing import Protocol

LOSS_TOLERANCE = 2.0
"""A loss may be this many times the median of all peers' before it is cut: their texts differ,
their weights don't."""

RATE_TOLERANCE = 20.0
"""A peer may be this many times as fast as the median peer before its claim is cut: as much as
a data centre's GPU is faster than a laptop's."""


class AveragingTimes(Protocol):
    """The part of a spec that says how long records live."""

    @property
    def record_seconds(self) -> float:
        """A progress record's life."""

    @property
    def matchmaking_seconds(self) -> float:
        """How long a group gathers."""


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """How long a run's records may live, from its spec; the defaults are plain hivemind's."""

    record_seconds: float = 60.0
    """A progress record's life."""

    matchmaking_seconds: float = 15.0
    """How long a group gathers."""

    metrics_seconds: float = 60.0
    """A metrics record's life."""

    donor_seconds: float = 30.0
    """The life of a record that offers the run's state."""

    @classmethod
    def of(cls, averaging: AveragingTimes) -> "RunTimes":
        """Those that a spec says."""
        return cls(
            record_seconds=averaging.record_seconds,
            matchmaking_seconds=averaging.matchmaking_seconds,
        )


PLAIN_TIMES = RunTimes()


def agreed_epoch(claims: Iterable[int], *, own: int = 0) -> int:
    """The highest epoch that most peers have reached, and never one below our own.

    claims: the epochs of the other peers, one each. Who is one epoch behind us votes for ours: the
    first one to reach an epoch is alone in it for a while, and one liar could throw it out. Peers
    further behind have no vote: a record of one that left stays for a while. One peer alone is
    believed only where it is the only one.
    """
    voters = sorted((max(claim, own) for claim in claims if claim >= own - 1), reverse=True)
    return voters[len(voters) // 2] if voters else own


def plausible_rates(rates: Sequence[float]) -> list[float]:
    """Samples per second of each peer, cut to `RATE_TOLERANCE` times the median of those that
    compute at all. Two peers or fewer have no median to be held against."""
    computing = [rate for rate in rates if rate > 0.0]
    if len(computing) < 3:
        return list(rates)
    most = RATE_TOLERANCE * median(computing)
    return [min(rate, most) for rate in rates]


def plausible_mean(losses: Iterable[float]) -> float | None:
    """The mean of what each peer measured, cut to `LOSS_TOLERANCE` times the median both ways, so
    that no single peer decides it; None without any."""
    claims = list(losses)
    if not claims:
        return None
    middle = median_low(claims)  # of two, the one that claims less
    least, most = middle / LOSS_TOLERANCE, middle * LOSS_TOLERANCE
    return sum(min(max(claim, least), most) for claim in claims) / len(claims)
