"""A planned start is made once, or forgotten."""

import asyncio
import time

import pytest

from app.common.background import Background
from app.training.planned_start import PlannedStart


async def test_it_is_made_unless_it_is_forgotten() -> None:
    made = asyncio.Event()

    async def start() -> None:
        made.set()

    planned = PlannedStart(start, background=Background())
    assert planned.plan(3600.0) == pytest.approx(time.time() + 3600.0, abs=60)
    planned.forget()
    planned.plan(0.0)
    await made.wait()


async def test_one_that_is_under_way_is_not_cancelled() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start() -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    planned = PlannedStart(start, background=Background())
    planned.plan(0.0)
    await begun.wait()
    planned.forget()
    may_end.set()
    await ended.wait()
