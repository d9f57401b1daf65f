"""What an averaging round believes of its members.

hivemind's reducer takes any tensor with any weight from a member, and a member takes any average
from a reducer: one NaN or one weight of 1e30 spoils everybody's model. Here each part of a tensor
is judged where it arrives: by the reducer before it enters the average, and by the receiver
before the average is applied. Who breaks a bound is left out of the part, and named.

Nothing here knows of networks; `app.trainer.averaging.guarded_allreduce` puts it into hivemind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from app.p2p.sightings import PartFault


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a tensor that one member sent for averaging."""

    sender: int
    """Index of the member among the round's senders."""

    values: torch.Tensor
    """float32, of the shape that was asked for."""

    weight: float
    """In samples for gradients; 0 for a member whose own values are of no use."""


@dataclass(frozen=True, kw_only=True)
class Average:
    """What a reducer made of the parts."""

    values: torch.Tensor
    """The weighted mean of what was believed; zeros where nothing was."""

    faults: dict[int, PartFault]
    """By sender: why a member's part didn't count, or only in part."""


@dataclass(frozen=True, kw_only=True)
class GradientBounds:
    """What is plausible for gradients: noisy, but of one direction and about one size."""

    most_weight: float
    """The target batch size: no member can have computed more samples in one epoch."""

    most_times_typical: float = 4.0
    """Norms beyond this many times the group's typical norm are cut down to it. The typical norm
    is the lower median, so that one of two members can't set it."""

    most_times_honest: float = 100.0
    """No honest average has a norm beyond this many times ours; below that it is cut silently."""

    least_cosine: float = -0.1
    """A part that points away from our own by more than this is left out. Two honest gradients
    of n values have a cosine above -3 / sqrt(n) even if they are nothing but noise."""

    def check(self, values: torch.Tensor, weight: float) -> PartFault | None:
        """What is wrong with a part by itself."""
        return _fault_alone(values, weight, most_weight=self.most_weight)

    def average(self, parts: Sequence[Part], own: torch.Tensor | None) -> Average:
        """The mean of parts, each weighted and cut to the typical norm; ``own`` is our own part,
        and None where we only help."""
        kept, faults = _without_copies(parts)
        if own is not None and float(own.norm()) > 0.0:
            against = {part.sender for part in kept if self._is_against(part.values, own)}
            faults |= dict.fromkeys(against, PartFault.AGAINST)
            kept = [part for part in kept if part.sender not in against]
        most = self.most_times_typical * lower_median([float(each.values.norm()) for each in kept])
        return Average(values=_mean(kept, most, like=parts[0].values), faults=faults)

    def check_average(
        self, average: torch.Tensor, own: torch.Tensor, typical: float
    ) -> tuple[torch.Tensor, PartFault | None]:
        """What we take of an average that another member made of our part and others', and what
        is wrong with it. typical: the norm that a part of this size has on average in our own
        tensors; where our own part is small, as that of rare words is, others' may be larger."""
        if not _is_finite(average):
            return own, PartFault.NOT_FINITE
        size, expected = float(average.norm()), max(float(own.norm()), typical)
        if size > self.most_times_honest * expected > 0.0 or self._is_against(average, own):
            return own, PartFault.AVERAGE
        most = 2.0 * self.most_times_typical * expected
        return average * cut_to(most, size), None

    def _is_against(self, values: torch.Tensor, own: torch.Tensor) -> bool:
        limit = min(self.least_cosine, -3.0 / math.sqrt(own.numel()))
        return _cosine(values, own) < limit


@dataclass(frozen=True, kw_only=True)
class StateBounds:
    """What is plausible for parameters: all members hold the same, up to a few missed steps."""

    most_weight: float = 1.0
    """hivemind averages parameters with weight 1 a member."""

    most_relative: float = 0.25
    """Distance from our own, as a part of our own norm."""

    most_absolute: float = 0.02
    """Distance from our own, root mean square a value: some ten steps at a rate of 1e-3. It lets
    a bias that begins at zero grow."""

    def check(self, values: torch.Tensor, weight: float) -> PartFault | None:
        """What is wrong with a part by itself."""
        return _fault_alone(values, weight, most_weight=self.most_weight)

    def average(self, parts: Sequence[Part], own: torch.Tensor | None) -> Average:
        """The mean of the parts that are near our own; of all where we have none."""
        far = {part.sender for part in parts if own is not None and self._is_far(part.values, own)}
        kept = [part for part in parts if part.sender not in far]
        mean = _mean(kept, math.inf, like=parts[0].values)
        return Average(values=mean, faults=dict.fromkeys(far, PartFault.FAR))

    def check_average(
        self, average: torch.Tensor, own: torch.Tensor, typical: float
    ) -> tuple[torch.Tensor, PartFault | None]:
        """What we take of an average that another member made of our part and others', and what
        is wrong with it."""
        if not _is_finite(average):
            return own, PartFault.NOT_FINITE
        return (own, PartFault.AVERAGE) if self._is_far(average, own) else (average, None)

    def _is_far(self, values: torch.Tensor, own: torch.Tensor) -> bool:
        most = self.most_relative * float(own.norm()) + self.most_absolute * own.numel() ** 0.5
        return not float((values - own).norm()) <= most


Bounds = GradientBounds | StateBounds


def _fault_alone(values: torch.Tensor, weight: float, *, most_weight: float) -> PartFault | None:
    """What is wrong with a part by itself, whatever is averaged."""
    if not (math.isfinite(weight) and 0.0 <= weight <= most_weight):
        return PartFault.WEIGHT
    return None if _is_finite(values) else PartFault.NOT_FINITE


def _is_finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of the angle between two tensors; 0 where one of them is zero."""
    norms = float(one.norm()) * float(other.norm())
    return float(torch.dot(one.flatten(), other.flatten())) / norms if norms > 0.0 else 0.0


def lower_median(norms: Sequence[float]) -> float:
    """Of norms above zero: the middle one, or the smaller of the two in the middle; else 0."""
    above = sorted(norm for norm in norms if norm > 0.0)
    return above[(len(above) - 1) // 2] if above else 0.0


def cut_to(most: float, norm: float) -> float:
    """The factor that cuts a norm to a bound; 1 within it, and where there is no bound (0)."""
    return most / norm if norm > most > 0.0 else 1.0


def _without_copies(parts: Sequence[Part]) -> tuple[list[Part], dict[int, PartFault]]:
    """Each distinct part once, with the smallest weight that it came with. Who copied whom can't
    be told, so all but one of equal parts count as copies."""
    kept: list[Part] = []
    faults: dict[int, PartFault] = {}
    for part in sorted(parts, key=lambda each: each.weight):
        is_copy = part.weight > 0.0 and any(
            torch.equal(part.values, other.values) and bool(part.values.any()) for other in kept
        )
        if is_copy:
            faults[part.sender] = PartFault.COPY
        else:
            kept.append(part)
    return kept, faults


def _mean(parts: Sequence[Part], most: float, *, like: torch.Tensor) -> torch.Tensor:
    """The weighted mean of parts whose norms are cut to ``most``; zeros where no part counts."""
    total = torch.zeros_like(like)
    weights = sum(part.weight for part in parts)
    if weights <= 0.0:
        return total
    for part in parts:
        scale = cut_to(most, float(part.values.norm()))
        total.add_(part.values, alpha=scale * part.weight / weights)
    return total
