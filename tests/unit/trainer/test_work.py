"""What of the work counts: pending until its round has ended, then entered or lost."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.protocol import Pace, Work
from app.trainer import traffic
from app.trainer.meter import Meter
from app.trainer.traffic import Traffic
from app.trainer.work import WorkMeter


def read(meter: WorkMeter) -> Work:
    return meter.read(bytes_sent=0, bytes_received=0)


def computed(meter: WorkMeter, samples: int = 4, *, seconds: float = 0.5) -> None:
    meter.computed(samples=samples, tokens=32 * samples, seconds=seconds)


def test_samples_wait_for_their_round() -> None:
    meter = WorkMeter()
    computed(meter)
    computed(meter)
    assert read(meter) == Work(samples_computed=8, samples_pending=8)
    meter.entered(64)
    assert read(meter) == Work(
        samples_computed=8,
        samples_entered=8,
        tokens_entered=256,
        compute_seconds=1.0,
        epochs=1,
        swarm_samples=64,
    )


def test_lost_samples_were_computed_for_nothing() -> None:
    meter = WorkMeter()
    computed(meter)
    meter.lost()
    meter.discarded(4)
    computed(meter)
    meter.entered(64)
    found = read(meter)
    assert (found.samples_computed, found.samples_entered, found.compute_seconds) == (12, 4, 0.5)


def test_bytes_are_passed_on() -> None:
    found = WorkMeter().read(bytes_sent=3, bytes_received=4)
    assert (found.bytes_sent, found.bytes_received) == (3, 4)


def test_optimizer_steps_cost_seconds_as_well() -> None:
    meter = WorkMeter()
    weight = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.AdamW([weight])
    meter.time_steps_of(optimizer)
    weight.grad = torch.ones(1000)
    computed(meter, seconds=0.0)
    optimizer.step()
    assert meter._pending.seconds > 0


def test_time_of_training_leaves_pauses_out() -> None:
    meter = WorkMeter()
    assert read(meter).training_seconds == 0.0
    meter.resume()
    meter.pause()
    rested = read(meter).training_seconds
    assert read(meter).training_seconds == rested
    meter.resume()
    assert read(meter).training_seconds >= rested


calls = st.lists(st.sampled_from(["computed", "discarded", "entered", "lost"]))


@given(calls=calls)
def test_no_counter_ever_falls_and_no_sample_counts_twice(calls: list[str]) -> None:
    meter, before = WorkMeter(), Work()
    for call in calls:
        arguments: dict[str, tuple[Any, ...]] = {"discarded": (4,), "entered": (64,)}
        if call == "computed":
            computed(meter)
        else:
            getattr(meter, call)(*arguments.get(call, ()))
        now = read(meter)
        names = set(Work.__struct_fields__) - {"samples_pending"}
        assert all(getattr(now, name) >= getattr(before, name) for name in names)
        assert now.samples_entered + now.samples_pending <= now.samples_computed
        before = now


# --- traffic -------------------------------------------------------------------------------------


def message(size: int) -> Any:
    return SimpleNamespace(tensor_part=SimpleNamespace(buffer=b"x" * size))


async def messages(*sizes: int) -> AsyncIterator[Any]:
    for size in sizes:
        yield message(size)


async def test_bytes_are_counted_as_they_pass() -> None:
    traffic = Traffic()
    sent = [len(each.tensor_part.buffer) async for each in traffic.sending(messages(10, 0, 5))]
    received = [each async for each in traffic.receiving(messages(7))]
    assert (sent, len(received)) == ([10, 0, 5], 1)
    assert (traffic.sent, traffic.received) == (15, 7)


async def test_what_nobody_took_was_not_sent() -> None:
    traffic = Traffic()
    sending = traffic.sending(messages(10, 20))
    await anext(sending)
    await anext(sending)
    await sending.aclose()
    assert traffic.sent == 10


def test_what_a_forked_process_counts_is_seen_here() -> None:
    traffic = Traffic()
    child = os.fork()
    if child == 0:
        traffic._counts[0] += 2**40
        os._exit(0)
    os.waitpid(child, 0)
    assert traffic.sent == 2**40


# --- its rate ------------------------------------------------------------------------------------

MEGABYTE = 1e6


@pytest.fixture
def upload() -> Iterator[traffic.Limit]:
    yield traffic.UPLOAD
    traffic.keep_to(Pace(id=0))


async def seconds_for(*sizes: int) -> float:
    began = time.monotonic()
    async for _message in Traffic().sending(messages(*sizes)):
        pass
    return time.monotonic() - began


async def test_tensors_are_sent_no_faster_than_allowed(upload: traffic.Limit) -> None:
    traffic.keep_to(Pace(id=1, upload=int(MEGABYTE)))
    assert await seconds_for(100_000, 100_000, 1) >= 0.2


def test_what_a_forked_process_sent_is_waited_for(upload: traffic.Limit) -> None:
    traffic.keep_to(Pace(id=1, upload=int(MEGABYTE)))
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        upload.wait(300_000).send(None)
        os._exit(0)
    os.waitpid(child, 0)
    asyncio.run(seconds_for(1))
    assert time.monotonic() - began >= 0.3  # though its end may have taken some of that


async def test_without_a_limit_nothing_waits(upload: traffic.Limit) -> None:
    waits = [upload.wait(10**12) for _message in range(3)]
    for wait in waits:
        with pytest.raises(StopIteration):
            wait.send(None)


def test_a_wait_lowers_the_rate_but_not_the_sums() -> None:
    meter = Meter()
    meter.add_step(torch.tensor(2.0), samples=4, tokens=128, seconds=1.0, computing=1.0)
    meter.add_wait(1.0)
    meter.add_wait(0.0)
    found = meter.read()
    assert (found.samples_per_second, found.compute_seconds, found.step) == (2.0, 1.0, 1)
