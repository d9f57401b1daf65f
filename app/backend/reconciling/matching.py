"""Finds our contributions among the rows that the backend has counted, although rows have no ids.

A contribution and a row are compared by their content: the session and the four reported numbers.
The backend keeps decimals with an unknown number of places, so a row may show a rounded number. We
take the longest number of a column as the number of places that the column has, and say that a row
is *like* a contribution if each of its numbers is ours, rounded to that many places or to single
precision.

Several contributions can be like one row. They may have the same numbers, for example if no sample
entered a round in either. Rounding may have made them the same. Or a column shows only whole
numbers by chance, so that we take it for more rounded than it is. So contributions and rows are
matched, each row with at most one contribution:

1. Every confirmed contribution gets a row.
2. As many of those in doubt as possible get one of the rows that are left. These were counted.
3. Where there is a choice, the row goes to the contribution that it differs from least.

If all rows come from this ledger, exactly as many in doubt get a row as were counted, because the
true matching uses up every row. They are also the right ones if the backend keeps the same number
of places in all four columns. Otherwise, where two are like one row, the wrong one may get it.

The backend's timestamps are not compared. They would only tell contributions with the same numbers
apart, which needn't be told apart. And if the backend's clock or time zone were wrong, we would not
find our rows, and would report again what was counted.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from operator import itemgetter

from app.backend.replies import BadRowError, Counted
from app.common.i18n import _
from app.contributions.accounting import Contribution, ReportedNumbers

SINGLE_PRECISION = 1e-6
"""Largest relative error of a number stored in four bytes (6e-8), with a margin."""

MOST_KINDS = 1_000_000
"""Rows with different numbers that are kept: two years of contributions a minute."""

_DIFFERENCES = (0.0, 0.0005, 0.005, 0.05, 0.5, math.inf)
"""Rows are matched in steps, by the largest difference of a number: none, then up to half a unit of
3, 2, 1 and 0 places, then more, as single precision makes in large numbers."""


class CountedRows:
    """The rows that the backend has counted for one node.

    sessions: those to be asked about; rows of others are not kept.
    """

    def __init__(self, sessions: Iterable[int | None]) -> None:
        self._counts: dict[int | None, Counter[ReportedNumbers]] = {
            session: Counter() for session in sessions
        }
        self._places = [0, 0, 0, 0]

    def add(self, rows: Iterable[Counted]) -> None:
        """Count more rows. Raises `BadRowError` when there are too many."""
        for row in rows:
            pairs = zip(self._places, _decimals(row), strict=True)
            self._places = [max(places, _places(number)) for places, number in pairs]
            counts = self._counts.get(row.session_id)
            if counts is not None:
                counts[_floats(row)] += 1
        if sum(map(len, self._counts.values())) > MOST_KINDS:
            raise BadRowError(_("it lists more contributions than can be compared"))

    @property
    def _half_units(self) -> tuple[float, ...]:
        return tuple(0.5 * 10.0**-places for places in self._places)

    def find(
        self,
        doubtful: Sequence[Contribution],
        *,
        session_id: int | None,
        confirmed: Sequence[ReportedNumbers],
    ) -> list[Contribution]:
        """The contributions in doubt that the backend has counted.

        doubtful: all of this node and session. Where several fit a row equally, the first gets it.
        confirmed: the numbers of all contributions of this node and session that are confirmed, the
        one confirmed last at the end. Where there are fewer rows, the backend has forgotten the
        first of them, so they take no row from those in doubt.

        Takes some tenths of a second for 100,000 rows.
        """
        counts = self._counts[session_id]
        confirmed = confirmed[max(0, len(confirmed) - counts.total()) :]
        likeness = _Likeness(counts, half_units=self._half_units)
        numbers = [each.numbers for each in doubtful]
        matching = _Matching(counts, likeness)
        matching.add(likeness.rivals(numbers, among=Counter(confirmed)))
        has_row = matching.add(numbers)
        return [each for each, found in zip(doubtful, has_row, strict=True) if found]

    def known(self, confirmed: Sequence[ReportedNumbers], *, session_id: int | None) -> list[bool]:
        """For each of some confirmed contributions of this node and session: has it a row?

        Where several fit a row, the first gets it. At most as many have none as rows are missing:
        a backend that changes numbers by more than rounding has forgotten nothing.

        Takes seconds for 100,000 rows.
        """
        counts = self._counts[session_id]
        missing = len(confirmed) - counts.total()
        likeness = _Likeness(counts, half_units=self._half_units)
        has_row = _Matching(counts, likeness).add(confirmed)
        without = [place for place, found in enumerate(has_row) if not found]
        for place in without[: max(0, len(without) - missing)]:
            has_row[place] = True
        return has_row


class _Likeness:
    """Tells which rows are like which contributions. Rows with the same numbers are one kind."""

    def __init__(
        self, kinds: Collection[ReportedNumbers], *, half_units: tuple[float, ...]
    ) -> None:
        self._half_units = half_units
        # The column with the most different numbers narrows a search down the most.
        self._column = max(range(4), key=lambda column: len({kind[column] for kind in kinds}))
        self._kinds = self._sorted(kinds)

    def kinds_like(self, own: ReportedNumbers) -> list[ReportedNumbers]:
        """The kinds of rows that are like a contribution."""
        return [kind for kind in self._near(own, self._kinds) if self._like(own, kind)]

    def rivals(
        self, doubtful: Iterable[ReportedNumbers], *, among: Counter[ReportedNumbers]
    ) -> list[ReportedNumbers]:
        """The confirmed contributions on which the rows of those in doubt depend.

        They are like a row that one in doubt is like, or like a row that another rival is like.
        """
        confirmed = self._sorted(among)
        found: set[ReportedNumbers] = set()
        seen: set[ReportedNumbers] = set()
        new = set(doubtful)
        while new:
            kinds = {kind for own in new for kind in self.kinds_like(own)} - seen
            seen |= kinds
            near = ((own, kind) for kind in kinds for own in self._near(kind, confirmed))
            new = {own for own, kind in near if self._like(own, kind)} - found
            found |= new
        return [own for own in sorted(found) for _ in range(among[own])]

    def _like(self, own: ReportedNumbers, kind: ReportedNumbers) -> bool:
        return all(
            abs(ours - theirs) <= half + SINGLE_PRECISION * abs(theirs)
            for ours, theirs, half in zip(own, kind, self._half_units, strict=True)
        )

    def _sorted(self, some: Iterable[ReportedNumbers]) -> list[ReportedNumbers]:
        return sorted(some, key=itemgetter(self._column))

    def _near(self, numbers: ReportedNumbers, some: list[ReportedNumbers]) -> list[ReportedNumbers]:
        """The part of a sorted list in which everything lies that is like ``numbers``."""
        value, value_of = numbers[self._column], itemgetter(self._column)
        reach = self._half_units[self._column] + 2 * SINGLE_PRECISION * (abs(value) + 1)
        begin = bisect_left(some, value - reach, key=value_of)
        return some[begin : bisect_right(some, value + reach, key=value_of)]


class _Matching:
    """Gives rows to contributions, a row to one contribution at most.

    A contribution that has a row keeps one: it may be moved to a row of another kind, to make room.
    """

    def __init__(self, counts: Counter[ReportedNumbers], likeness: _Likeness) -> None:
        self._likeness = likeness
        self._left = dict(counts)
        self._options: list[list[tuple[int, ReportedNumbers]]] = []
        self._step_of: dict[int, int] = {}
        self._kind_of: dict[int, ReportedNumbers] = {}
        self._holders: defaultdict[ReportedNumbers, set[int]] = defaultdict(set)

    def add(self, contributions: Iterable[ReportedNumbers]) -> list[bool]:
        """Give a row to as many of these as possible; returns for each whether it has one."""
        first = len(self._options)
        for own in contributions:
            kinds = self._likeness.kinds_like(own)
            self._options.append(sorted((_step(own, kind), kind) for kind in kinds))
        added = range(first, len(self._options))
        for step in range(len(_DIFFERENCES)):
            for number in added:
                if number not in self._kind_of and self._place(number, step):
                    self._step_of[number] = step
        return [number in self._kind_of for number in added]

    def _place(self, number: int, step: int) -> bool:
        """Give a row to contribution ``number``; if none is left for it, move others.

        This is the search for an augmenting path in a bipartite graph, breadth first.

        step: the last step whose rows may be used, except by contributions placed in a later step.
        """
        reached_by: dict[ReportedNumbers, int] = {}
        queue = [number]
        for mover in queue:  # it grows meanwhile
            last = max(step, self._step_of.get(mover, 0))
            for needed, kind in self._options[mover]:
                if needed > last or kind in reached_by:
                    continue
                reached_by[kind] = mover
                if self._left[kind]:
                    self._left[kind] -= 1
                    self._move(reached_by, to=kind)
                    return True
                queue.extend(self._holders[kind])
        return False

    def _move(self, reached_by: dict[ReportedNumbers, int], *, to: ReportedNumbers) -> None:
        """Walk back along the path from its end, the free row: each contribution takes the row that
        it reached, and leaves its own row to the contribution before it."""
        kind: ReportedNumbers | None = to
        while kind is not None:
            mover = reached_by[kind]
            left = self._kind_of.get(mover)
            if left is not None:
                self._holders[left].remove(mover)
            self._kind_of[mover] = kind
            self._holders[kind].add(mover)
            kind = left


def _step(own: ReportedNumbers, kind: ReportedNumbers) -> int:
    """The first of `_DIFFERENCES` that is no less than the numbers differ by."""
    difference = max(abs(ours - theirs) for ours, theirs in zip(own, kind, strict=True))
    return bisect_left(_DIFFERENCES, round(difference, 9))


def _decimals(row: Counted) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return row.compute_time, row.gradient_quality, row.data_transmitted, row.uptime_ratio


def _floats(row: Counted) -> ReportedNumbers:
    first, second, third, fourth = map(float, _decimals(row))
    return first, second, third, fourth


def _places(number: Decimal) -> int:
    """How many decimals a number has.

    Zeros at the end don't count, because a number format may add or drop them.
    """
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
