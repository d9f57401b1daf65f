"""A rate is that of the last seconds."""

import time

import pytest

from app.common.rate import SECONDS, Rate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_it_is_too_early_to_say_at_first(clock: list[float]) -> None:
    rate = Rate()
    assert rate.after(10**9) is None
    clock[0] += 0.5
    assert rate.after(10**9 + 100) is None
    clock[0] += 1.5
    assert rate.after(10**9 + 200) == 100.0  # not counting what was there before


def test_what_is_long_ago_is_forgotten(clock: list[float]) -> None:
    rate, total = Rate(), 0
    for step in (1000, 1000, 10):
        for _second in range(int(SECONDS) + 1):
            clock[0] += 1
            total += step
            found = rate.after(total)
    assert found == 10.0
