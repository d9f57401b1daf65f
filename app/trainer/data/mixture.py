"""Samples from several sources, each drawn as often as its weight says."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from app.trainer.data.batches import Batches, draws

_COUNTED = 2**20
"""Draws that are counted together."""


class Mixing:
    """Which source the n-th sample is drawn from.

    It depends on the key, the weights and n alone, so that a peer that resumes at n goes on as
    without the break.
    """

    def __init__(self, weights: Sequence[float], *, key: int) -> None:
        """weights: of the sources, above 0. key: see `order_key`."""
        exact = [Fraction(weight) for weight in weights]
        ends = [sum(exact[: n + 1], Fraction()) / sum(exact) for n in range(len(exact) - 1)]
        self._ends = np.array([int(end * 2**64) for end in ends], dtype=np.uint64)
        self._key = key
        self.sources = len(weights)

    def picks(self, start: int, count: int) -> NDArray[np.intp]:
        """The sources of samples from ``start`` on, shape [count]."""
        drawn = draws(self._key, start=start, count=count)
        return np.searchsorted(self._ends, drawn, side="right")

    def counts(self, end: int) -> list[int]:
        """How many of the first samples, up to ``end``, are drawn from each source."""
        total = np.zeros(self.sources, dtype=np.int64)
        for begin in range(0, end, _COUNTED):
            picks = self.picks(begin, min(_COUNTED, end - begin))
            total += np.bincount(picks, minlength=self.sources)
        return [int(each) for each in total]


class MixtureBatches:
    """`Batches` that draws from others."""

    def __init__(
        self, sources: Sequence[Batches], mixing: Mixing, *, start: int = 0, pin: bool = False
    ) -> None:
        """sources: each is where `Mixing.counts` says that it is at ``start``. pin: put batches
        into page-locked memory."""
        self._sources = sources
        self._mixing = mixing
        self._pin = pin
        self.vocabulary_size = sources[0].vocabulary_size
        self.position = start

    def next(self, count: int) -> torch.Tensor:
        """``count`` samples: int64, shape [count, sequence_length + 1]."""
        picks = torch.from_numpy(self._mixing.picks(self.position, count))
        drawn = [
            (picks == number, source.next(int((picks == number).sum())))
            for number, source in enumerate(self._sources)
            if bool((picks == number).any())
        ]
        samples = torch.empty(count, drawn[0][1].shape[1], dtype=torch.int64)
        for places, tokens in drawn:
            samples[places] = tokens
        self.position += count
        return samples.pin_memory() if self._pin else samples

    def close(self) -> None:
        """Close all sources."""
        for source in self._sources:
            source.close()
