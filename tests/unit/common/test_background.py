"""Background tasks are cancelled at the end, and their failures are logged."""

import asyncio

import pytest

from app.common import background
from app.common.background import Background, end


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
