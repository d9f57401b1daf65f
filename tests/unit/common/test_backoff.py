"""The back-off, with a clock and draws of its own."""

from app.common.backoff import Backoff


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def highest(_low: float, high: float) -> float:
    return high


def test_it_doubles_up_to_the_longest_and_starts_anew() -> None:
    time = Time()
    gate = Backoff(first=10, longest=60, clock=time, draw=highest)
    assert gate.remaining == 0
    assert [gate.fail() for _ in range(5)] == [10, 20, 40, 60, 60]
    assert gate.remaining == 60
    time.now = 45
    assert gate.remaining == 15
    gate.clear()
    assert gate.remaining == 0
    assert gate.fail() == 10


def test_the_jitter_is_full() -> None:
    gate = Backoff(first=10, longest=60, clock=Time())
    waits = [gate.jitter(3) for _ in range(2000)]
    assert min(waits) < 2
    assert 38 < max(waits) <= 40


def test_what_was_asked_for_comes_before_the_jitter() -> None:
    gate = Backoff(first=10, longest=60, clock=Time(), draw=highest)
    assert gate.fail(at_least=600) == 610


def test_it_goes_on_where_it_was() -> None:
    gate = Backoff(first=10, longest=600, clock=Time(), draw=highest)
    gate.resume(failures=3, remaining=5)
    assert gate.remaining == 5
    assert gate.fail() == 80


def test_a_thousand_failures_dont_overflow() -> None:
    gate = Backoff(first=10, longest=600, clock=Time(), draw=highest)
    for _ in range(5000):
        gate.fail()
    assert gate.remaining == 600
