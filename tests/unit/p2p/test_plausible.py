"""One peer's claim alone moves no swarm."""

import pytest

from app.p2p.plausible import RATE_TOLERANCE, agreed_epoch, plausible_mean, plausible_rates


@pytest.mark.parametrize(
    ("claims", "own", "agreed"),
    [
        ([], 7, 7),
        ([8], 7, 8),  # the only other peer is believed
        ([7, 8], 7, 7),  # one of two isn't
        ([8, 8], 7, 8),
        ([7, 8, 8], 7, 8),
        ([10**6, 7, 7], 7, 7),
        ([10**6, 8, 8], 7, 8),
        ([10**6, 10**6, 8], 7, 10**6),  # a majority can't be told from the truth
        ([0, 3, 8], 7, 8),  # peers far behind us have no vote
        ([6, 8], 7, 7),  # the fastest of three, and a liar
        ([6, 6, 9], 7, 7),  # of four
        ([6, 7, 8], 7, 7),
        ([6, 8, 8], 7, 8),  # a majority went on without us
        ([6, 8, 8, 8], 7, 8),
        ([50, 50, 51], 0, 50),  # a newcomer
        ([10**6, 50], 0, 50),
    ],
)
def test_epoch_is_what_most_have_reached(claims: list[int], own: int, agreed: int) -> None:
    assert agreed_epoch(claims, own=own) == agreed


def test_forged_rate_is_cut() -> None:
    assert plausible_rates([10.0, 12.0, 8.0, 1e9]) == [10.0, 12.0, 8.0, RATE_TOLERANCE * 11.0]


def test_fast_peer_among_slow_ones_is_not() -> None:
    assert plausible_rates([10.0, 12.0, 150.0]) == [10.0, 12.0, 150.0]


def test_resting_peers_do_not_lower_the_median() -> None:
    assert plausible_rates([0.0, 0.0, 0.0, 10.0, 12.0, 40.0]) == [0.0, 0.0, 0.0, 10.0, 12.0, 40.0]


def test_two_peers_may_be_very_unequal() -> None:
    assert plausible_rates([0.1, 900.0]) == [0.1, 900.0]


@pytest.mark.parametrize(
    ("losses", "mean"),
    [
        ([], None),
        ([2.0], 2.0),
        ([2.0, 3.0, 4.0], 3.0),
        ([2.0, 2.0, 1e4], (2.0 + 2.0 + 4.0) / 3),
        ([2.0, 2.0, 0.0], (2.0 + 2.0 + 1.0) / 3),
        ([2.0, 1e4], 3.0),
    ],
)
def test_no_single_peer_decides_the_mean_loss(losses: list[float], mean: float | None) -> None:
    assert plausible_mean(losses) == mean
