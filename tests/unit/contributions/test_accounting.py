"""From counters to the five numbers: nothing lost, nothing doubled, no number out of its bounds."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contributions.accounting import (
    NOTHING,
    Interval,
    contribution_of,
    estimated_score,
    iso,
    percentage,
    share,
)
from app.protocol import Work
from tests.support.training.works import NOON, contribution

IDENTITY: dict[str, Any] = {"id": "1", "run_id": "docs", "participant": "Qm"}


# --- intervals -----------------------------------------------------------------------------------


@dataclass
class Counted:
    """A trainer's counters, as `WorkMeter` keeps them."""

    computed: int = 0
    pending: int = 0
    entered: int = 0
    epochs: int = 0
    sent: int = 0
    milliseconds: int = 0

    def work(self) -> Work:
        return Work(
            samples_computed=self.computed,
            samples_pending=self.pending,
            samples_entered=self.entered,
            tokens_entered=self.entered * 128,
            compute_seconds=round(self.entered / 1000, 3),
            epochs=self.epochs,
            swarm_samples=self.epochs * 512,
            bytes_sent=self.sent,
            bytes_sent_in_rounds=self.sent,
            bytes_received=2 * self.sent,
            training_seconds=round(self.milliseconds / 1000, 3),
        )

    def do(self, action: str, amount: int) -> None:
        match action:
            case "compute":
                self.computed += amount
                self.pending += amount
            case "discard":
                self.computed += amount
            case "enter":
                self.entered, self.pending = self.entered + self.pending, 0
                self.epochs += 1
            case "lose":
                self.pending = 0
            case "send":
                self.sent += amount
            case "train":
                self.milliseconds += amount


ACTIONS = ("compute", "discard", "enter", "lose", "send", "train", "report", "close")
actions = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1000)), max_size=30)


@dataclass
class Account:
    """Intervals over the lives of several trainers, and the last counters of each trainer."""

    interval: Interval = field(default_factory=Interval)
    closed: list[Work] = field(default_factory=list)
    said: list[Work] = field(default_factory=list)

    def live(self, life: list[tuple[str, int]]) -> None:
        trainer, said = Counted(), NOTHING
        for action, amount in life:
            trainer.do(action, amount)
            if action == "report":
                said = trainer.work()
                self.interval = self.interval.counted(said)
            elif action == "close":
                self.closed.append(self.interval.so_far)
                self.interval = self.interval.after(self.interval)
        self.interval = self.interval.trainer_gone()
        self.said.append(said)


def sums(works: list[Work]) -> dict[str, float]:
    names = set(Work.__struct_fields__) - {"samples_pending"}
    return {name: round(sum(getattr(work, name) for work in works), 3) for name in names}


@given(lives=st.lists(actions, max_size=4))
def test_sums_over_intervals_are_what_the_trainers_said(lives: list[list[tuple[str, int]]]) -> None:
    account = Account()
    for life in lives:
        account.live(life)
    assert sums([*account.closed, account.interval.so_far]) == sums(account.said)


@given(life=actions)
def test_nothing_in_an_interval_is_negative_or_more_than_all(
    life: list[tuple[str, int]],
) -> None:
    account = Account()
    account.live(life)
    for work in [*account.closed, account.interval.so_far]:
        assert all(getattr(work, name) >= 0 for name in Work.__struct_fields__)
        assert work.samples_entered <= work.samples_computed
        assert work.samples_pending == 0


def test_what_waits_for_its_round_belongs_to_the_next_interval() -> None:
    first = Interval().counted(Work(samples_computed=100, samples_pending=60, samples_entered=40))
    assert (first.so_far.samples_computed, first.so_far.samples_entered) == (40, 40)
    second = first.after(first).counted(Work(samples_computed=110, samples_entered=110))
    assert (second.so_far.samples_computed, second.so_far.samples_entered) == (70, 70)


def test_what_waits_when_the_trainer_ends_never_entered() -> None:
    interval = Interval().counted(
        Work(samples_computed=100, samples_pending=60, samples_entered=40)
    )
    assert interval.if_ended.samples_computed == 100
    assert interval.trainer_gone().so_far == interval.if_ended


def test_what_waits_when_the_trainer_is_killed_counts_in_no_number() -> None:
    interval = Interval().counted(
        Work(samples_computed=100, samples_pending=60, samples_entered=40)
    )
    assert interval.trainer_gone(killed=True).so_far == interval.so_far
    assert interval.so_far.samples_computed == 40


def test_the_rest_after_an_earlier_moment_holds_what_came_later() -> None:
    earlier = Interval().counted(Work(samples_computed=10, samples_entered=10, bytes_sent=5))
    more = Work(samples_computed=30, samples_pending=8, samples_entered=20, bytes_sent=7)
    later = earlier.counted(more)
    later = later.trainer_gone().counted(Work(samples_computed=6, samples_pending=6, bytes_sent=1))
    rest = later.after(earlier)
    assert rest.so_far == Work(samples_computed=20, samples_entered=10, bytes_sent=3)
    settled = rest.counted(Work(samples_computed=6, samples_entered=6, bytes_sent=1))
    assert settled.so_far.samples_entered == 16


def test_counters_that_fall_are_of_another_trainer() -> None:
    interval = Interval().counted(Work(samples_computed=100, samples_entered=90, bytes_sent=10))
    interval = interval.counted(Work(samples_computed=8, samples_entered=8, bytes_sent=20))
    assert interval.so_far == Work(samples_computed=108, samples_entered=98, bytes_sent=30)


def test_a_trainer_that_comes_back_from_nothing_loses_and_doubles_nothing() -> None:
    first = Interval().counted(Work(samples_computed=100, samples_entered=90))
    interval = first.after(first).counted(Work(samples_computed=104, samples_entered=94))
    interval = interval.trainer_gone().counted(Work(samples_computed=200, samples_entered=200))
    assert interval.so_far == Work(samples_computed=204, samples_entered=204)


def test_interval_is_untouched_until_something_is_counted() -> None:
    assert Interval().is_untouched
    first = Interval().counted(Work(samples_computed=1))
    assert first.after(first).is_untouched
    assert not Interval().counted(Work(samples_computed=1, samples_pending=1)).is_untouched
    assert not Interval().counted(Work(bytes_received=1)).is_untouched


# --- the five numbers ----------------------------------------------------------------------------


def test_numbers_are_by_the_definitions() -> None:
    work = Work(
        samples_computed=400,
        samples_entered=300,
        tokens_entered=38_400,
        compute_seconds=41.5,
        epochs=2,
        swarm_samples=1024,
        bytes_sent=9_000_000,
        bytes_sent_in_rounds=2_500_500,
        bytes_received=7,
        training_seconds=45.0,
    )
    made = contribution_of(work, seconds=60.0, started_at=NOON, energy=12.34, **IDENTITY)
    assert made.compute_time == 41.5
    assert made.gradient_quality == 75.0
    assert made.data_transmitted == 2500.5
    assert made.uptime_ratio == 75.0
    assert (made.started_at, made.ended_at) == (NOON, NOON + 60.0)
    assert (made.samples, made.samples_computed, made.tokens, made.epochs) == (300, 400, 38_400, 2)
    assert (made.bytes_sent, made.bytes_received, made.energy) == (9_000_000, 7, 12.3)
    assert share(made.samples, made.swarm_samples) == pytest.approx(0.293, abs=0.001)


@given(life=actions, seconds=st.floats(0.0, 1e6))
def test_numbers_stay_in_their_bounds(life: list[tuple[str, int]], seconds: float) -> None:
    account = Account()
    account.live(life)
    for work in [*account.closed, account.interval.so_far]:
        made = contribution_of(work, seconds=seconds, started_at=NOON, **IDENTITY)
        assert 0.0 <= made.gradient_quality <= 100.0
        assert 0.0 <= made.uptime_ratio <= 100.0
        assert made.compute_time >= 0.0
        assert made.data_transmitted >= 0.0
        assert made.score >= 0


@given(part=st.floats(0, 1e12), whole=st.floats(0, 1e12))
def test_percentage_is_one(part: float, whole: float) -> None:
    assert 0.0 <= percentage(part, whole) <= 100.0


@given(own=st.integers(0, 10**9), everybody=st.integers(0, 10**9))
def test_share_is_one_or_not_known(own: int, everybody: int) -> None:
    found = share(own, everybody)
    assert (found is None) == (everybody == 0)
    assert found is None or 0.0 <= found <= 1.0


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((100.0, 100.0, 1000.0, 100.0), 235),
        ((0.0, 0.0, 0.0, 0.0), 0),
        ((0.0, 0.0, 0.0, 5.0), 1),  # 0.5 is rounded up, as in JavaScript
        ((0.0, 0.0, 0.0, 4.9), 0),
        ((6.25, 0.0, 0.0, 0.0), 3),  # 2.5 as well
    ],
)
def test_score_is_the_backends(numbers: tuple[float, ...], expected: int) -> None:
    names = ("compute_time", "gradient_quality", "data_transmitted", "uptime_ratio")
    assert estimated_score(**dict(zip(names, numbers, strict=True))) == expected


# --- the documents -------------------------------------------------------------------------------


def test_report_has_the_backends_names_and_no_more() -> None:
    assert contribution().report() == {
        "sessionId": 7,
        "participant": "QmNb",
        "computeTime": 41.125,
        "gradientQuality": 98.75,
        "dataTransmitted": 1536.25,
        "uptimeRatio": 96.5,
    }


def test_document_holds_everything_but_the_signature() -> None:
    made = contribution()
    others = replace(made, signature="AAAA")
    assert made.document() == others.document()
    assert made.report().items() <= made.document().items()
    assert len(made.document()) == len(made.__dataclass_fields__) - 1


def test_times_are_in_utc() -> None:
    assert iso(NOON + 0.25) == "2026-11-24T12:00:00.250+00:00"
