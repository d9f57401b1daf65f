"""What of the work counts: pending until its round has ended, then entered or lost."""

import time
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


def test_given_up_samples_enter_no_round() -> None:
    meter = WorkMeter()
    computed(meter, 8, seconds=1.0)
    meter.forgotten(2)
    meter.entered(64)
    found = read(meter)
    assert (found.samples_computed, found.samples_entered, found.tokens_entered) == (8, 6, 192)
    assert found.compute_seconds == 0.75
    meter.forgotten(2)  # nothing is pending
    assert read(meter) == found


def test_waiting_for_the_swarm_is_no_computing_but_an_optimizer_step_is() -> None:
    meter = WorkMeter()
    weight = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.SGD([weight])
    meter.time_steps_of(optimizer)
    with meter.waiting():  # before training
        time.sleep(0.01)
    assert read(meter).waiting_seconds == 0.0
    meter.resume()
    with meter.waiting(), meter.waiting():
        time.sleep(0.01)
        running = read(meter).waiting_seconds
        assert 0.01 <= running <= read(meter).training_seconds
    waited = read(meter).waiting_seconds
    time.sleep(0.01)
    assert read(meter).waiting_seconds == waited >= running
    with meter.waiting():
        optimizer.register_step_pre_hook(lambda *_: time.sleep(0.2))
        optimizer.step()
    assert read(meter).waiting_seconds < waited + 0.2


def test_bytes_of_a_round_are_those_since_the_one_before() -> None:
    meter = WorkMeter()
    assert [meter.sent_since_the_last_round(total) for total in (5, 5, 12)] == [5, 0, 7]


calls = st.lists(st.sampled_from(["computed", "discarded", "forgotten", "entered", "lost"]))


@given(calls=calls)
def test_no_counter_ever_falls_and_no_sample_counts_twice(calls: list[str]) -> None:
    meter, before = WorkMeter(), Work()
    for call in calls:
        arguments: dict[str, tuple[Any, ...]] = {
            "discarded": (4,),
            "forgotten": (3,),
            "entered": (64,),
        }
        if call == "computed":
            computed(meter)
        else:
            getattr(meter, call)(*arguments.get(call, ()))
        now = read(meter)
        names = set(Work.__struct_fields__) - {"samples_pending"}
        assert all(getattr(now, name) >= getattr(before, name) for name in names)
        assert now.samples_entered + now.samples_pending <= now.samples_computed
        before = now
