"""The exponential back-off, with a fake clock and a fake random source."""

from app.common.backoff import Backoff


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def highest(_low: float, high: float) -> float:
    return high


def test_wait_doubles_up_to_the_longest_and_a_success_resets_it() -> None:
    time = FakeClock()
    gate = Backoff(first=10, longest=60, clock=time, draw=highest)
    assert gate.remaining == 0
    assert [gate.fail() for _ in range(5)] == [10, 20, 40, 60, 60]
    assert gate.remaining == 60
    time.now = 45
    assert gate.remaining == 15
    gate.clear()
    assert gate.remaining == 0
    assert gate.fail() == 10


def test_wait_is_drawn_from_the_whole_range() -> None:
    gate = Backoff(first=10, longest=60, clock=FakeClock())
    waits = [gate.jitter(3) for _ in range(2000)]
    assert min(waits) < 2
    assert 38 < max(waits) <= 40


def test_jitter_is_added_to_the_wait_that_was_asked_for() -> None:
    gate = Backoff(first=10, longest=60, clock=FakeClock(), draw=highest)
    assert gate.fail(at_least=600) == 610


def test_resume_restores_failures_and_wait() -> None:
    gate = Backoff(first=10, longest=600, clock=FakeClock(), draw=highest)
    gate.resume(failures=3, remaining=5)
    assert gate.remaining == 5
    assert gate.fail() == 80


def test_a_thousand_failures_dont_overflow() -> None:
    gate = Backoff(first=10, longest=600, clock=FakeClock(), draw=highest)
    for _ in range(5000):
        gate.fail()
    assert gate.remaining == 600
