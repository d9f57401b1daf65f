"""A search for a group that its round has dropped or cancelled."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from hivemind.averaging.control import StepControl
from hivemind.averaging.matchmaking import Matchmaking
from hivemind.utils import MPFuture, get_dht_time

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


class Told(MPFuture):
    """What the averager waits for; notes whether the round was marked when it was told."""

    def __init__(self, control: StepControl) -> None:
        super().__init__()
        self._control = control
        self.marked: list[bool] = []

    def set_result(self, result: object) -> None:
        self.marked.append(self._control.cancelled())
        super().set_result(result)


def cancelled() -> tuple[StepControl, Told]:
    trigger = MPFuture()  # the first in a process must be a plain one
    deadline = get_dht_time() + 60
    control = StepControl(
        scheduled_time=deadline - 30,
        deadline=deadline,
        allow_retries=False,
        weight=1.0,
        data_for_gather=b"",
    )
    told = Told(control)
    control.attach(trigger, told)
    control.cancel()
    return control, told


async def test_hivemind_tells_of_a_cancel_before_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = getattr(StepControl.cancel, "__wrapped__", StepControl.cancel)
    monkeypatch.setattr(StepControl, "cancel", cancel)
    control, told = cancelled()
    assert control.cancelled()
    assert told.marked == [False]


async def test_ours_is_cancelled_when_the_averager_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepControl, "cancel", StepControl.cancel)  # put back at the end
    searches.cancel_in_order()
    control, told = cancelled()
    assert control.cancelled()
    assert control.triggered
    assert told.marked == [True]
    assert control.cancel()
    assert told.marked == [True]
