"""Background tasks are cancelled at the end, and their failures are logged."""

import asyncio
import logging
import threading

import pytest

from app.common import background
from app.common.background import Background, end, in_thread, run_in_thread, survived
from app.common.errors import LibraryError

log = logging.getLogger(__name__)


async def test_end_waits_for_tasks_that_return_fail_or_are_cancelled() -> None:
    async def fails() -> None:
        raise ValueError

    async def waits() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(each()) for each in (fails, waits, waits)]
    await asyncio.sleep(0)
    await end(*tasks)
    assert [task.cancelled() for task in tasks] == [False, True, True]
    await end()


async def test_a_cancel_waits_for_the_thread() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        may_end.wait()
        ended.set()

    task = asyncio.create_task(in_thread(call))
    await asyncio.to_thread(began.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_swallowed_cancel_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LOST_SECONDS", 0.01)

    async def loses_one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as asyncio.wait_for does if its result arrives with it
            await asyncio.Event().wait()

    task = asyncio.create_task(loses_one())
    await asyncio.sleep(0)
    await asyncio.wait_for(end(task), 20)
    assert task.cancelled()


@pytest.mark.logs_error("a background task failed")
async def test_failure_is_logged() -> None:
    async def fails() -> None:
        raise ValueError

    owner = Background()
    await asyncio.wait({owner.start(fails())})
    await owner.close()


@pytest.mark.logs_error("the round 7 failed")
async def test_a_failed_round_is_logged_and_survived() -> None:
    with survived(log, "the round %d failed", 7):
        raise ValueError
    with pytest.raises(asyncio.CancelledError), survived(log, "the round failed"):
        raise asyncio.CancelledError


async def test_a_thread_gives_its_result_or_one_kind_of_error() -> None:
    def fails() -> None:
        raise KeyError("no such device")

    assert await run_in_thread(lambda: 7, name="counts") == 7
    with pytest.raises(LibraryError, match="no such device") as raised:
        await run_in_thread(fails, name="fails")
    assert isinstance(raised.value.__cause__, KeyError)


async def test_nobody_needs_to_wait_for_a_thread() -> None:
    hangs, called = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails_late() -> None:
        hangs.wait()
        loop.call_soon_threadsafe(called.set)
        raise OSError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run_in_thread(fails_late, name="hangs")
    hangs.set()
    async with asyncio.timeout(10.0):
        await called.wait()
