"""Questions to a system that may fail or hang."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from app.machine import question
from app.machine.question import Question


class Driver:
    """A fake driver that answers once it is allowed to, and counts the calls."""

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
    """Makes the driver hang, and the question wait for it only briefly."""

    def begin() -> None:
        driver.may_answer.clear()
        monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)

    return begin


async def test_answer_is_returned(driver: Driver) -> None:
    asks = Question(driver.read)
    assert [await asks.answer("a"), await asks.answer("b")] == ["a1", "b2"]


async def test_answer_is_reused_for_a_while(driver: Driver) -> None:
    asks = Question(driver.read, every=60.0)
    assert [await asks.answer(), await asks.answer()] == ["1", "1"]


async def test_failed_question_gives_none_and_is_asked_again(driver: Driver) -> None:
    asks = Question(driver.read)
    driver.failure = OSError("no such device")
    assert await asks.answer() is None
    driver.failure = None
    assert await asks.answer() == "2"


async def test_hanging_question_is_neither_waited_for_nor_asked_twice(
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


async def test_last_answer_is_used_for_a_while_when_the_next_is_late(
    driver: Driver, hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = Question(driver.read)
    assert await asks.answer() == "1"
    hang()
    assert await asks.answer() == "1"
    monkeypatch.setattr(question, "STALE_SECONDS", 0.0)
    assert await asks.answer() is None


async def test_what_was_counted_is_told_once_however_late(
    driver: Driver, hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = Question(driver.read, counts=True)
    assert await asks.answer() == "1"
    hang()
    assert [await asks.answer() for _ in range(2)] == [None, None]  # not the first once more
    monkeypatch.setattr(question, "DEADLINE_SECONDS", 20.0)
    driver.may_answer.set()
    assert [await asks.answer(), await asks.answer()] == ["2", "3"]


async def test_of_several_who_wait_none_forgets_the_next_question(
    driver: Driver, hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = Question(driver.read)
    driver.may_answer.clear()

    async def twice() -> None:
        await asks.answer()
        monkeypatch.setattr(question, "DEADLINE_SECONDS", 0.05)
        driver.may_answer.clear()
        await asks.answer()

    async with asyncio.timeout(10.0), asyncio.TaskGroup() as waiting:
        first = waiting.create_task(twice())
        second = waiting.create_task(asks.answer())
        for _ in range(3):  # until both wait
            await asyncio.sleep(0)
        driver.may_answer.set()
        await second
        await first
    await asks.answer()
    assert driver.asked == 2


async def test_failure_is_logged_once_with_the_questions_name(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.failure = OSError("no such device")
    asks = Question(driver.read)
    with caplog.at_level("INFO"):
        for _ in range(3):
            await asks.answer()
    assert caplog.messages == ["read can't be told: no such device"]
