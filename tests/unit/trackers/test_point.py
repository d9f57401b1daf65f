"""What the trackers get: each value once, and a step that never falls."""

from dataclasses import replace

import pytest

from app.p2p.sightings import Run
from app.state.facts import Evaluation, GeneratedSample, Swarm
from app.state.history import History
from app.state.state import ContributorState, OwnTraining
from app.trackers.point import Collector, TrackedText

START = 1_800_000_000.0
SWARM = Swarm(run_id="run", title="Run", model_type="gpt2", dataset="docs", target_batch_size=100)
STATE = ContributorState(swarm=SWARM, run=Run(epoch=3, samples=40, trainers=2))


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def collector(history: History) -> Collector:
    return Collector(history, since=START)


def test_nothing_new_is_no_point(collector: Collector) -> None:
    assert collector.take(STATE, START + 10) is None


def test_means_are_of_all_values_since_the_last_look(
    collector: Collector, history: History
) -> None:
    history.loss.add(START - 1, 99.0)
    for age, value in enumerate((1.0, 2.0, 6.0)):
        history.loss.add(START + age, value)
    history.swarm_loss.add(START + 1, 4.0)
    point = collector.take(STATE, START + 5)
    assert point is not None
    assert point.time == START + 5
    assert point.values == {
        "loss/this_machine": 3.0,
        "loss/swarm": 4.0,
        "epoch/swarm": 3,
        "trainers/swarm": 2,
    }
    assert collector.take(STATE, START + 6) is None


def test_a_second_that_goes_on_is_taken_once(collector: Collector, history: History) -> None:
    history.loss.add(START + 5.1, 1.0)
    assert collector.take(STATE, START + 5.2) is None
    history.loss.add(START + 5.9, 3.0)
    point = collector.take(STATE, START + 7)
    assert point is not None
    assert point.values["loss/this_machine"] == 2.0


def test_the_step_is_the_swarms_samples(collector: Collector, history: History) -> None:
    history.loss.add(START, 1.0)
    point = collector.take(STATE, START + 1)
    assert point is not None
    assert point.step == 340


def test_the_step_never_falls_within_a_run(collector: Collector, history: History) -> None:
    steps = []
    for age, run in enumerate((Run(epoch=3, samples=400), Run(epoch=2), None)):
        history.loss.add(START + age, 1.0)
        point = collector.take(replace(STATE, run=run), START + age + 1)
        assert point is not None
        steps.append(point.step)
    assert steps == [400, 400, 400]
    collector.restart()
    history.loss.add(START + 9, 1.0)
    point = collector.take(replace(STATE, run=Run(epoch=1)), START + 10)
    assert point is not None
    assert point.step == 100


def test_a_clock_that_goes_back_repeats_nothing(collector: Collector, history: History) -> None:
    history.loss.add(START + 5, 1.0)
    assert collector.take(STATE, START + 10) is not None
    assert collector.take(STATE, START) is None
    assert collector.take(STATE, START + 10) is None


def test_evaluations_are_told_once(collector: Collector, history: History) -> None:
    evaluation = Evaluation(epoch=2, loss=2.5, bits_per_byte=3.25, time=START + 3)
    evaluated = replace(STATE, evaluation=evaluation, training=OwnTraining(device="cpu"))
    history.held_out_loss.add(START + 3, 2.5)
    point = collector.take(evaluated, START + 10)
    assert point is not None
    assert point.values["held_out_loss/this_machine"] == 2.5
    assert point.values["held_out_bits_per_byte/this_machine"] == 3.25
    assert not point.texts
    history.loss.add(START + 11, 2.0)
    point = collector.take(evaluated, START + 20)
    assert point is not None
    assert "held_out_bits_per_byte/this_machine" not in point.values


def test_what_falls_into_the_second_that_goes_on_is_told_once(collector: Collector) -> None:
    sample = GeneratedSample(epoch=2, prompt="Once\n", text=" upon\x1b[2J", time=START + 10.25)
    state = replace(STATE, samples=(sample,))
    assert collector.take(state, START + 10.5) is None
    point = collector.take(state, START + 11)
    assert point is not None
    assert point.texts == (
        TrackedText(name="samples/Once ", step=200, text="Once\n upon\ufffd[2J"),
    )
    assert collector.take(state, START + 20) is None
