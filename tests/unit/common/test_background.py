"""Tasks are ended, and what they fail with is seen."""

import asyncio

import pytest

from app.common import background
from app.common.background import Background, end


async def test_all_have_ended_whatever_their_end() -> None:
    async def fails() -> None:
        raise ValueError

    async def waits() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(each()) for each in (fails, waits, waits)]
    await asyncio.sleep(0)
    await end(*tasks)
    assert [task.cancelled() for task in tasks] == [False, True, True]
    await end()


async def test_cancel_that_got_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LOST_SECONDS", 0.01)

    async def loses_one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as asyncio.wait_for does when its result is just there
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
