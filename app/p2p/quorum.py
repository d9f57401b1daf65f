"""What a swarm's peers say together, where each of them may be wrong or lie."""

from collections.abc import Iterable, Sequence
from statistics import median

RATE_TOLERANCE = 20.0
"""A peer may be this many times as fast as the median peer before its claim is cut: as much as
a data centre's GPU is faster than a laptop's."""


def agreed_epoch(claims: Iterable[int], *, own: int = 0) -> int:
    """The highest epoch that most peers have reached, and never one below our own.

    claims: the epochs of the other peers, one each. Peers behind us have no vote: a record of
    one that left stays for a while. One peer alone is believed only where it is the only one.
    """
    voters = sorted((claim for claim in claims if claim >= own), reverse=True)
    return voters[len(voters) // 2] if voters else own


def plausible_rates(rates: Sequence[float]) -> list[float]:
    """Samples per second of each peer, cut to `RATE_TOLERANCE` times the median of those that
    compute at all. Two peers or fewer have no median to be held against."""
    computing = [rate for rate in rates if rate > 0.0]
    if len(computing) < 3:
        return list(rates)
    most = RATE_TOLERANCE * median(computing)
    return [min(rate, most) for rate in rates]
