"""A search for a group that its round has dropped."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from hivemind.averaging.matchmaking import Matchmaking

from app.trainer.averaging import searches


async def searching() -> "weakref.ref[asyncio.Task[Any]]":
    """Begin a search that waits for what nobody else knows of, and drop it."""
    task = asyncio.create_task(Matchmaking.look_for_group(None, None))
    await asyncio.sleep(0)
    return weakref.ref(task)


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_for_group(_self: Matchmaking, _step: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Matchmaking, "look_for_group", look_for_group)


async def test_python_collects_a_search_that_nobody_holds() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
    task = await searching()
    gc.collect()
    assert task() is None
    assert "destroyed" in told[0]["message"]


async def test_ours_is_held_until_it_ends() -> None:
    searches.keep_searches()
    task = await searching()
    gc.collect()
    held = task()
    assert held is not None
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    assert not searches._searches
