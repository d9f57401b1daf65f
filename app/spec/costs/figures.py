"""A figure of an estimate: parts, with a reason each."""

from dataclasses import dataclass

from app.spec.training import TrainingSpec

FLOAT32 = 4
"""Bytes."""


@dataclass(frozen=True, kw_only=True)
class EstimatePart:
    """One part of a figure."""

    name: str
    """For the user, such as "Weights"."""

    size: int | None
    """Bytes; None when it can't be known beforehand."""

    why: str
    """A phrase for the user that explains the size."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A figure as the sum of its parts."""

    parts: tuple[EstimatePart, ...]

    @property
    def total(self) -> int:
        """The sum of the known parts, in bytes."""
        return sum(part.size or 0 for part in self.parts)

    @property
    def complete(self) -> bool:
        """Whether every part is known."""
        return all(part.size is not None for part in self.parts)


def optimizer_states(training: TrainingSpec) -> int:
    """Values that the optimizer keeps for each parameter that is trained."""
    if training.optimizer.name != "sgd":
        return 2  # Muon has one for a matrix
    return int(training.optimizer.momentum > 0)
