"""Questions to a system that may fail or hang."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from app.sensors import question
from app.sensors.question import Question


class Driver:
    """Answers when it may, and counts how often it is asked."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0
        self.failure: Exception | None = None

    def read(self, name: str = "") -> str:
        self.asked += 1
        self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return f"{name}{self.asked}"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    monkeypatch.setattr(question, "DEADLINE_SECONDS", 20.0)  # who answers is never late
    made = Driver()
    yield made
    made.may_answer.set()


@pytest.fixture
def hang(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the driver hang, and nobody wait for it for long."""

    def begin() -> None:
        driver.may_answer.clear()
        monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)

    return begin


async def test_it_is_answered(driver: Driver) -> None:
    asks = Question(driver.read)
    assert [await asks.answer("a"), await asks.answer("b")] == ["a1", "b2"]


async def test_an_answer_stays_good_for_a_while(driver: Driver) -> None:
    asks = Question(driver.read, every=60.0)
    assert [await asks.answer(), await asks.answer()] == ["1", "1"]


async def test_who_fails_knows_nothing_and_is_asked_again(driver: Driver) -> None:
    asks = Question(driver.read)
    driver.failure = OSError("no such device")
    assert await asks.answer() is None
    driver.failure = None
    assert await asks.answer() == "2"


async def test_who_hangs_is_not_waited_for_nor_asked_twice(
    driver: Driver, hang: Callable[[], None]
) -> None:
    hang()
    asks = Question(driver.read)
    async with asyncio.timeout(10.0):
        assert [await asks.answer() for _ in range(5)] == [None] * 5
    assert driver.asked == 1
    driver.may_answer.set()
    async with asyncio.timeout(10.0):
        while await asks.answer() is None:
            pass


async def test_a_late_answer_leaves_the_last_one_for_a_while(
    driver: Driver, hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = Question(driver.read)
    assert await asks.answer() == "1"
    hang()
    assert await asks.answer() == "1"
    monkeypatch.setattr(question, "STALE_SECONDS", 0.0)
    assert await asks.answer() is None


async def test_what_it_is_called_is_logged_once(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.failure = OSError("no such device")
    asks = Question(driver.read)
    with caplog.at_level("INFO"):
        for _ in range(3):
            await asks.answer()
    assert caplog.messages == ["read can't be told: no such device"]
