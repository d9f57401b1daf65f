"""Finding our contributions again among what the backend has counted, though it gives no ids.

A contribution is known by its content, the session and the four numbers. Those of different
intervals are alike now and then: nothing entered a round in either, say. They are told apart by
counting: what the backend has more of than we know to be confirmed is what it has counted of those
in doubt.

The backend stores decimals, with places that nobody promises. They show in what it tells: as many
as the longest of its numbers has. One of its numbers stands for ours when it is what ours becomes
by rounding to as many, or in single precision.

Its timestamps are left out on purpose. They could only tell alike ones apart, which the counting
does; and a clock or a time zone that is wrong on its side would hide from us what it has counted,
which would then be counted twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from app.backend.replies import Counted
from app.contributions.accounting import Contribution

SINGLE_PRECISION = 1e-6
"""How far, relatively, a number moves at most that is kept in four bytes, with a margin."""

Four = tuple[float, float, float, float]
"""computeTime, gradientQuality, dataTransmitted, uptimeRatio; or something for each of them."""


@dataclass(frozen=True, kw_only=True)
class Alike:
    """The rows that may stand for one contribution.

    count: how many; kinds: one of each that differ; reach: how far the numbers of another
    contribution may be off and still look like one of them.
    """

    count: int
    kinds: tuple[Four, ...]
    reach: Four


class CountedRows:
    """All that the backend has counted for one node."""

    def __init__(self, rows: Sequence[Counted]) -> None:
        columns = list(zip(*(_decimals(row) for row in rows), strict=True)) or [()] * 4
        first, second, third, fourth = (_half_unit(column) for column in columns)
        self._half_units: Four = (first, second, third, fourth)
        self._counts = Counter((row.session_id, _floats(row)) for row in rows)

    def has_exactly(self, contribution: Contribution) -> bool:
        """One of them is this contribution to the last digit."""
        return (contribution.session_id, _reported(contribution)) in self._counts

    def alike(self, contribution: Contribution) -> Alike:
        """Those that may stand for it."""
        own = _reported(contribution)
        found = {
            numbers: count
            for (session_id, numbers), count in self._counts.items()
            if session_id == contribution.session_id and self._same(own, numbers)
        }
        first, second, third, fourth = (
            2 * (half + SINGLE_PRECISION * abs(number)) + SINGLE_PRECISION
            for half, number in zip(self._half_units, own, strict=True)
        )
        return Alike(
            count=sum(found.values()), kinds=tuple(found), reach=(first, second, third, fourth)
        )

    def stand_for(
        self,
        contribution: Contribution,
        found: Alike,
        *,
        confirmed: Iterable[Contribution],
        doubtful: Iterable[Contribution],
    ) -> bool:
        """Whether there are more of those found than stand for others.

        confirmed: that are within reach; doubtful: others in doubt. What is one of these to the
        last digit is left to it by those to which it is so only by rounding: the first rows may
        show fewer places than there are.
        """
        known = self._alike_count(found, confirmed)
        if not self.has_exactly(contribution):
            known += self._alike_count(found, filter(self.has_exactly, doubtful))
        return found.count > known

    def _alike_count(self, found: Alike, others: Iterable[Contribution]) -> int:
        return sum(
            any(self._same(_reported(each), numbers) for numbers in found.kinds) for each in others
        )

    def _same(self, ours: Four, theirs: Four) -> bool:
        return all(
            abs(own - other) <= half + SINGLE_PRECISION * abs(other)
            for own, other, half in zip(ours, theirs, self._half_units, strict=True)
        )


def _reported(contribution: Contribution) -> Four:
    return (
        contribution.compute_time,
        contribution.gradient_quality,
        contribution.data_transmitted,
        contribution.uptime_ratio,
    )


def _decimals(row: Counted) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return row.compute_time, row.gradient_quality, row.data_transmitted, row.uptime_ratio


def _floats(row: Counted) -> Four:
    first, second, third, fourth = map(float, _decimals(row))
    return first, second, third, fourth


def _half_unit(column: Iterable[Decimal]) -> float:
    """Half of one in the last place of the longest. Zeros at the end don't count: a format may
    add or drop them."""
    exponents = (number.normalize().as_tuple().exponent for number in column)
    return 0.5 * 10.0 ** min(0, 0, *(each for each in exponents if isinstance(each, int)))
