"""Whether a contribution is among what the backend has counted."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backend.matching import CountedRows
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


def row(each: Contribution, keep: Keep) -> Counted:
    return Counted(
        session_id=each.session_id or 0,
        compute_time=keep(each.compute_time),
        gradient_quality=keep(each.gradient_quality),
        data_transmitted=keep(each.data_transmitted),
        uptime_ratio=keep(each.uptime_ratio),
    )


def is_counted(
    each: Contribution,
    rows: CountedRows,
    confirmed: Sequence[Contribution] = (),
    doubtful: Sequence[Contribution] = (),
) -> bool:
    """As the reporter decides it; the ledger's search by reach included."""
    found = rows.alike(each)
    near = [other for other in confirmed if is_within(other, each, found.reach)]
    return rows.stand_for(each, found, confirmed=near, doubtful=doubtful)


def is_within(
    other: Contribution, each: Contribution, reach: tuple[float, float, float, float]
) -> bool:
    names = ("compute_time", "gradient_quality", "data_transmitted", "uptime_ratio")
    return all(
        abs(getattr(other, name) - getattr(each, name)) <= most
        for name, most in zip(names, reach, strict=True)
    )


@pytest.mark.parametrize("name", KEEPS)
@given(seed=st.integers(0, 2**32))
def test_every_one_in_doubt_is_judged_right(name: str, seed: int) -> None:
    """Contributions in thousandths, some alike, some nearly: as many are found as were counted."""
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
    rows = CountedRows([row(each, keep) for each in (*confirmed, *counted)])
    judged: list[Contribution] = []
    waiting = sorted(doubtful, key=rows.has_exactly, reverse=True)
    while waiting:
        each = waiting.pop(0)
        if is_counted(each, rows, confirmed, waiting):
            judged.append(each)
            confirmed.append(each)
    assert sorted(as_kept(judged, keep)) == sorted(as_kept(counted, keep))


def as_kept(some: list[Contribution], keep: Keep) -> list[tuple[Decimal, ...]]:
    """Those that the backend can't tell apart are the same."""
    return [
        (
            keep(each.compute_time),
            keep(each.gradient_quality),
            keep(each.data_transmitted),
            keep(each.uptime_ratio),
        )
        for each in some
    ]


def test_other_sessions_are_others() -> None:
    one = contribution()
    other = replace(one, session_id=8)
    assert not is_counted(one, CountedRows([row(other, KEEPS["all"])]))


def test_nothing_is_among_nothing() -> None:
    assert not is_counted(contribution(), CountedRows([]))


def test_the_first_rows_are_left_to_those_that_they_are_to_the_last_digit() -> None:
    """50.06 may be 50.059 rounded; but it is the other one, whose turn hasn't come."""
    one, other = contribution(compute_time=50.059), contribution(compute_time=50.06)
    rows = CountedRows([row(other, KEEPS["all"])])
    assert not is_counted(one, rows, doubtful=[other])
    assert is_counted(other, rows, doubtful=[one])
    assert is_counted(one, rows)
