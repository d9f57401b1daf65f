"""Which contributions in doubt are among the rows that the backend has counted."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.backend.reconciling.matching import CountedRows
from app.backend.replies import Counted
from app.contributions.accounting import Contribution
from tests.support.backend.reporting import contribution

Keep = Callable[[float], Decimal]


def rounded(places: int, how: str = ROUND_HALF_EVEN) -> Keep:
    unit = Decimal(1).scaleb(-places)
    return lambda number: Decimal(str(number)).quantize(unit, how)


KEEPS: dict[str, Keep] = {
    "all": lambda number: Decimal(repr(number)),
    "two places": rounded(2),
    "two places, halves up": rounded(2, ROUND_HALF_UP),
    "whole": rounded(0),
    "six places": rounded(6),
    "single precision": lambda number: Decimal(str(np.float32(number))),
}


def row(each: Contribution, *keeps: Keep) -> Counted:
    """The backend's row of a contribution. keeps: the rounding of each column, or of all."""
    first, second, third, fourth = keeps if len(keeps) == 4 else keeps * 4
    return Counted(
        session_id=each.session_id or 0,
        compute_time=first(each.compute_time),
        gradient_quality=second(each.gradient_quality),
        data_transmitted=third(each.data_transmitted),
        uptime_ratio=fourth(each.uptime_ratio),
    )


def found(
    doubtful: Sequence[Contribution],
    rows: Sequence[Counted],
    confirmed: Sequence[Contribution] = (),
) -> list[Contribution]:
    numbers = [each.numbers for each in confirmed]
    counted = CountedRows([7])
    counted.add(rows)
    return counted.find(doubtful, session_id=7, confirmed=numbers)


@pytest.mark.parametrize("name", KEEPS)
@given(seed=st.integers(0, 2**32))
@example(seed=1203241)  # a row went to one that had to be rounded more
@example(seed=14278)
@example(seed=11847)  # a row was taken for a confirmed one's, which has another
@example(seed=1146)
def test_every_one_in_doubt_is_judged_right(name: str, seed: int) -> None:
    """Exactly those are found that were counted, though many have similar or equal numbers."""
    draw = random.Random(seed)
    some = [
        contribution(
            compute_time=draw.choice([0.0, 50.0, 50.001, 50.004, draw.randrange(60_000) / 1000]),
            gradient_quality=draw.choice([0.0, 100.0, 99.5, draw.randrange(100_000) / 1000]),
            data_transmitted=draw.choice([0.0, 3.5, draw.randrange(10**9) / 1000]),
            uptime_ratio=draw.choice([100.0, 50.0, draw.randrange(100_000) / 1000]),
        )
        for _ in range(draw.randrange(1, 20))
    ]
    keep = KEEPS[name]
    confirmed = [each for each in some if draw.random() < 0.6]
    doubtful = [each for each in some if each not in confirmed]
    counted = [each for each in doubtful if draw.random() < 0.5]
    judged = found(doubtful, [row(each, keep) for each in (*confirmed, *counted)], confirmed)
    assert sorted(as_kept(judged, keep)) == sorted(as_kept(counted, keep))


def as_kept(some: list[Contribution], keep: Keep) -> list[tuple[Decimal, ...]]:
    """The numbers as the backend keeps them: contributions that are equal then can't be told
    apart."""
    return [
        (
            keep(each.compute_time),
            keep(each.gradient_quality),
            keep(each.data_transmitted),
            keep(each.uptime_ratio),
        )
        for each in some
    ]


@given(seed=st.integers(0, 2**32))
def test_as_many_are_found_as_were_counted(seed: int) -> None:
    """However each column is rounded: it may be open which ones were counted, but not how many."""
    draw = random.Random(seed)
    keeps = [draw.choice(list(KEEPS.values())) for _ in range(4)]
    some = [
        contribution(
            compute_time=draw.choice([49.5, 50.0, 50.004, draw.randrange(49_000, 51_000) / 1000]),
            gradient_quality=draw.choice([100.0, 99.5, draw.randrange(98_000, 100_000) / 1000]),
            data_transmitted=draw.choice([0.0, 3.5]),
            uptime_ratio=draw.choice([100.0, 99.6]),
        )
        for _ in range(draw.randrange(1, 20))
    ]
    confirmed = [each for each in some if draw.random() < 0.6]
    doubtful = [each for each in some if each not in confirmed]
    counted = [each for each in doubtful if draw.random() < 0.5]
    rows = [row(each, *keeps) for each in (*confirmed, *counted)]
    assert len(found(doubtful, rows, confirmed)) == len(counted)


def test_a_row_is_not_taken_for_a_confirmed_one_that_has_another() -> None:
    """99.5 may be rounded to 99 or to 100; its row is the 100, as nothing else becomes that."""
    known = contribution(compute_time=50.001, gradient_quality=99.5)
    one = contribution(compute_time=50.004, gradient_quality=99.108)
    rows = [row(each, KEEPS["whole"]) for each in (known, one)]
    assert found([one], rows, [known]) == [one]


def test_a_row_goes_to_the_one_that_it_differs_from_least() -> None:
    """Some columns show no decimals, but only by chance: 99.5 could have become 100 by rounding."""
    known = contribution(compute_time=50.0, gradient_quality=29.998, uptime_ratio=38.058)
    one = contribution(compute_time=50.001, gradient_quality=100.0, uptime_ratio=50.0)
    other = contribution(compute_time=50.0, gradient_quality=99.5, uptime_ratio=50.0)
    rows = [row(each, KEEPS["two places"]) for each in (known, one)]
    assert found([other, one], rows, [known]) == [one]


def test_a_confirmed_one_keeps_a_row_that_another_fits_better() -> None:
    known, one = contribution(compute_time=50.004), contribution(compute_time=50.0)
    assert found([one], [row(known, KEEPS["two places"])], [known]) == []


def test_the_first_of_equal_ones_is_found() -> None:
    same = [contribution(compute_time=50.0) for _ in range(3)]
    rows = [row(each, KEEPS["all"]) for each in same[:2]]
    assert found(same[1:], rows, same[:1]) == [same[1]]


def test_other_sessions_are_others() -> None:
    one = contribution()
    other = replace(one, session_id=8)
    assert found([one], [row(other, KEEPS["all"])]) == []


def test_nothing_is_among_nothing() -> None:
    assert found([contribution()], []) == []


def test_the_first_rows_are_left_to_those_that_they_are_to_the_last_digit() -> None:
    """50.06 may be 50.059 rounded, but it is the other one, whose request may still be going on."""
    one, other = contribution(compute_time=50.059), contribution(compute_time=50.06)
    rows = [row(other, KEEPS["all"])]
    assert found([one, other], rows) == [other]
    assert found([other, one], rows) == [other]
    assert found([one], rows) == [one]
