"""Tensors keep to the rate that the app wants."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from app.protocol import Pace
from app.trainer.peer import bandwidth
from app.trainer.peer.bandwidth import BandwidthLimit
from app.trainer.peer.traffic import Traffic
from tests.support.training.messages import messages

MEGABYTE = 1e6


@pytest.fixture
def upload() -> Iterator[BandwidthLimit]:
    yield bandwidth.UPLOAD
    bandwidth.keep_to(Pace(id=0))


async def seconds_for(*sizes: int) -> float:
    began = time.monotonic()
    async for _message in Traffic().sending(messages(*sizes)):
        pass
    return time.monotonic() - began


async def test_tensors_are_sent_no_faster_than_allowed(upload: BandwidthLimit) -> None:
    bandwidth.keep_to(Pace(id=1, upload=int(MEGABYTE)))
    assert await seconds_for(100_000, 100_000, 1) >= 0.2


def test_what_a_forked_process_sent_is_waited_for(upload: BandwidthLimit) -> None:
    bandwidth.keep_to(Pace(id=1, upload=int(MEGABYTE)))
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        upload.wait(300_000).send(None)
        os._exit(0)
    os.waitpid(child, 0)
    asyncio.run(seconds_for(1))
    assert time.monotonic() - began >= 0.3  # the child's end may have taken some of that time


async def test_without_a_limit_nothing_waits(upload: BandwidthLimit) -> None:
    waits = [upload.wait(10**12) for _message in range(3)]
    for wait in waits:
        with pytest.raises(StopIteration):
            wait.send(None)
