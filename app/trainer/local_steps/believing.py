"""Which of a round's contributions count, and for how much: the same at all its members.

Each member judges by the contributions alone, never by its own weights or data, so that all come
to the same mean. What is judged: that a contribution starts from the same outer weights as most
others, that it is no copy of another one, its size, and its direction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.p2p.sightings import PartFault
from app.trainer.averaging.guard import cut_to, lower_median
from app.trainer.exchange.exchange import PeerBlob
from app.trainer.local_steps.codec import Codec

BASE_BYTES = 16
"""Of the digest of the outer weights, at the begin of each blob."""

MOST_TIMES_TYPICAL = 4.0
"""Norms beyond this many times the typical one, the lower median, are cut down to it. Who has taken
more steps may go farther, with their square root: so far a random direction leads. A straight one
leads farther still, but who claims many steps must not lead all others away."""

LEAST_COSINE = -0.05
"""A contribution that points away from the sum of all others by more than this is left out. What
two honest peers learnt from the same weights points the same way."""

_LEAST_NORM = 1e-30
"""A smaller one is nothing: float32 has no number for what divides by it, and infinity times the
zeros of an update would make all votes NaN, which judges nobody."""

_LANES = 2**15
"""Sums that a dot product is gathered in: one for each place in a chunk of so many values."""


@dataclass(frozen=True, kw_only=True)
class Believed:
    """What a round's contributions come to."""

    mean: list[torch.Tensor]
    """float32, on the CPU."""

    agrees: bool
    """Our outer weights are those of most members."""

    faults: dict[str, PartFault]
    """By peer id: why a contribution did not count, or only in part."""


@torch.no_grad()
def believed(
    contributions: Sequence[PeerBlob], *, codec: Codec, base: bytes, farthest: float
) -> Believed:
    """Judge contributions, which the codec can read. base: the digest of our outer weights.
    farthest: the norm that none of them has more of, the same at all members."""
    most = most_common_base(contributions)
    faults = {each.peer_id: PartFault.FAR for each in contributions if _base_of(each) != most}
    faults |= {each.peer_id: PartFault.COPY for each in _copies(contributions)}
    kept = [each for each in contributions if each.peer_id not in faults]
    norms, against = _judged([each.blob[BASE_BYTES:] for each in kept], codec)
    most_sizes = _most_sizes(norms, [each.weight for each in kept], farthest)
    faults |= {kept[index].peer_id: PartFault.AGAINST for index in against}
    counted = [index for index in range(len(kept)) if index not in against]
    scales = [cut_to(most_sizes[index], norms[index]) for index in counted]
    weights = [kept[index].weight for index in counted]
    if not any(weights):  # newcomers that have not taken a step: nobody learnt anything
        weights, scales = [1.0] * len(counted), [0.0] * len(counted)
    mean = codec.mean([kept[index].blob[BASE_BYTES:] for index in counted], weights, scales)
    return Believed(mean=mean, agrees=most == base, faults=faults)


def _most_sizes(norms: Sequence[float], weights: Sequence[float], farthest: float) -> list[float]:
    """How large each contribution may be."""
    typical, usual = MOST_TIMES_TYPICAL * lower_median(norms), lower_median(weights)
    mores = [math.sqrt(max(1.0, weight / usual if usual else 1.0)) for weight in weights]
    return [min(farthest, typical * more) for more in mores]


def _base_of(contribution: PeerBlob) -> bytes:
    return contribution.blob[:BASE_BYTES]


def most_common_base(contributions: Sequence[PeerBlob]) -> bytes:
    """The digest of the outer weights that most have; among equals, of those on which more was
    learnt, so that a newcomer that came a moment late doesn't throw the others out; then of the
    smallest peer id."""
    bases = [_base_of(each) for each in contributions]

    def rank(base: bytes) -> tuple[int, float, int]:
        weight = math.fsum(each.weight for each in contributions if _base_of(each) == base)
        return bases.count(base), weight, -bases.index(base)

    return max(bases, key=rank)


def _copies(contributions: Sequence[PeerBlob]) -> list[PeerBlob]:
    """Those that say what another one says, which counts instead. Who copied whom can't be told,
    so the one with the least weight counts. Only the round's leader sees a blob in time to copy it,
    and a leader can leave out whom it wants anyway."""
    by_weight = sorted(contributions, key=lambda each: (each.weight, each.peer_id))
    first: dict[bytes, PeerBlob] = {}
    return [each for each in by_weight if first.setdefault(each.blob, each) is not each]


def _judged(blobs: Sequence[bytes], codec: Codec) -> tuple[list[float], set[int]]:
    """The norms, and the indices of those that point away from the others; of none where that would
    be all. Holds two dense updates at a time, however many blobs there are."""
    total: list[torch.Tensor] | None = None
    norms = []
    for blob in blobs:
        update = codec.decode(blob)
        norms.append(math.sqrt(_dot(update, update)))
        _scale(update, norms[-1])
        if total is None:
            total = update
        else:
            for whole, part in zip(total, update, strict=True):
                whole.add_(part)
    if total is None or len(blobs) <= 2:  # of two, nobody can tell which one is wrong
        return norms, set()
    size = _dot(total, total)
    against = set()
    for index, (blob, norm) in enumerate(zip(blobs, norms, strict=True)):
        update = codec.decode(blob)
        _scale(update, norm)
        with_all, square = _dot(update, total), _dot(update, update)
        others = math.sqrt(max(0.0, size - 2 * with_all + square))
        if with_all - square < LEAST_COSINE * math.sqrt(square) * others:
            against.add(index)
    return norms, against if len(against) < len(blobs) else set()


def _scale(update: Sequence[torch.Tensor], norm: float) -> None:
    """To a norm of 1, so that each peer has one vote on the direction, however far it went."""
    if norm >= _LEAST_NORM:
        for each in update:
            each.mul_(1 / norm)


def _dot(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The same bits on every machine, since scales and decisions come of it. `torch.dot` adds in an
    order that depends on processor and threads. Here the product of two float32 is exact in
    float64, each lane's additions have one order, and ``fsum`` rounds the sum of the lanes once."""
    lanes, products = np.zeros(_LANES), np.empty(_LANES)
    for a, b in zip(one, other, strict=True):
        first, second = a.flatten().numpy(), b.flatten().numpy()
        for begin in range(0, len(first), _LANES):
            of_one, of_other = first[begin : begin + _LANES], second[begin : begin + _LANES]
            count = len(of_one)
            np.multiply(of_one, of_other, out=products[:count], dtype=np.float64)
            lanes[:count] += products[:count]
    return math.fsum(lanes.tolist())
