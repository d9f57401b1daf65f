"""Numbers as text."""

import pytest

from ui.texts import units

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (float("inf"), "–"),
        (-3, "0 s"),
        (5.6, "6 s"),
        (200, "3 min 20 s"),
        (1500, "25 min"),
        (13263, "3 h 41 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert units.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(None, "–"), (950, "950"), (842_752, "0.84 M"), (124_000_000, "124 M"), (7.24e9, "7.24 B")],
)
def test_large_numbers(number: float | None, words: str) -> None:
    assert units.short(number) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.456, "0.46"), (3.21, "3.21"), (81.4, "81.4"), (1214.2, "1,214")],
)
def test_rates(value: float | None, words: str) -> None:
    assert units.rate(value) == words


def test_sizes_counts_and_ids() -> None:
    assert units.size(12 * 2**30) == "12 GiB"
    assert units.count(1_234_567) == "1,234,567"
    assert units.percent(484, 4096) == "12\u00a0%"
    assert units.percent(1, 0) == "0\u00a0%"
    assert units.shortened("short") == "short"
    assert units.loss(float("nan")) == "–"
