"""Rates are per second of the clock: whoever waits for others shows it."""

import pytest

from app.state.count_rate import LONGEST_SECONDS, CountRate


def rates(pace: CountRate, *reports: tuple[float, int]) -> list[float | None]:
    return [pace.add(now, count) for now, count in reports]


def steady(*, until: float, rate: int = 10, since: float = 0.0) -> list[tuple[float, int]]:
    """A report each half-second."""
    return [(since + half / 2, half * rate // 2) for half in range(int(2 * until) + 1)]


def test_at_first_it_is_not_known() -> None:
    assert rates(CountRate(), (5.0, 40), (5.5, 44), (6.9, 50)) == [None, None, None]


def test_a_steady_count_has_its_rate() -> None:
    assert rates(CountRate(), *steady(until=60))[-1] == pytest.approx(10.0)


def test_waiting_brings_it_down_to_nothing() -> None:
    pace = CountRate()
    rates(pace, *steady(until=30))
    waiting = rates(pace, *[(30.0 + half / 2, 300) for half in range(1, 113)])  # 56 s
    assert waiting[8] == pytest.approx(5.5, abs=0.6)
    assert waiting[-1] == 0.0


def test_over_waits_it_is_what_was_really_done() -> None:
    """5 s of work and 5 s of waiting, again and again."""
    pace = CountRate()
    found = [
        pace.add(second, 100 * (second // 10) + min(100, 20 * (second % 10)))
        for second in range(101)
    ]
    assert found[-1] == pytest.approx(10.0)


def test_a_slow_machine_has_a_rate_between_its_steps() -> None:
    """8 samples each 20 s: the last 10 s alone would say 0 or twice the rate."""
    pace = CountRate()
    found = [pace.add(float(second), 8 * (second // 20)) for second in range(301)]
    assert all(rate == pytest.approx(0.4, abs=0.11) for rate in found[100:])


@pytest.mark.parametrize("begins", [(31.0, 0), (20.0, 400)], ids=["anew", "clock set back"])
def test_a_count_that_begins_anew_has_no_negative_rate(begins: tuple[float, int]) -> None:
    pace = CountRate()
    rates(pace, *steady(until=30))
    assert pace.add(*begins) is None


def test_it_keeps_little() -> None:
    pace = CountRate()
    for second in range(10_000):
        pace.add(float(second), second // 1000)
    assert len(pace) <= LONGEST_SECONDS + 2
