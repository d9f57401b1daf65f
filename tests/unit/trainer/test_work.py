"""What of the work counts: pending until its round has ended, then entered or lost."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from app.protocol import Work
from app.trainer.work import WorkMeter


def read(meter: WorkMeter) -> Work:
    return meter.read(bytes_sent=0, bytes_sent_in_rounds=0, bytes_received=0)


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
    found = WorkMeter().read(bytes_sent=3, bytes_sent_in_rounds=2, bytes_received=4)
    assert (found.bytes_sent, found.bytes_sent_in_rounds, found.bytes_received) == (3, 2, 4)


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
