"""The fleet: who is there, how they do, and which machines need a look."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.p2p.machine_records import LEFT, Flaw, MachineRecord
from app.swarm import fleet
from app.swarm.fleet import HOUR, Concern, Fleet, Machine, Track, labs, totals
from tests.support.machine.machines import crowd, record

NOW = 10_000.0


def fleet_of(*records: MachineRecord, now: float = NOW) -> Fleet:
    made = Fleet()
    made.take({f"key{place}": told for place, told in enumerate(records)}, now)
    return made


def only(made: Fleet, now: float = NOW) -> Machine:
    (machine,) = made.machines(now)
    return machine


def train(made: Fleet, rates: list[float], *, step: float = 5.0, **changes: Any) -> float:
    """A machine that tells these rates, one after the other; returns when that ended."""
    now = NOW
    for sequence, rate in enumerate(rates, start=1):
        told = record(sequence=sequence, time=now, samples_per_second=rate, **changes)
        made.take({"key": told}, now)
        now += step
    return now - step


# --- coming and going ----------------------------------------------------------------------------


def test_newer_record_counts_and_an_older_one_changes_nothing() -> None:
    made = Fleet()
    for sequence, loss in ((2, 2.5), (3, 2.4), (1, 9.0)):
        made.take({"key": record(sequence=sequence, loss=loss)}, NOW)
    assert only(made).record.loss == 2.4


def test_last_seen_is_by_our_clock() -> None:
    made = fleet_of(record(sequence=1, time=NOW + 8))  # its clock is ahead
    assert only(made).last_seen == NOW
    made.take({"key0": record(sequence=2, time=NOW - 500)}, NOW + 5)  # or behind
    assert only(made).last_seen == NOW + 5


def test_machine_that_was_silent_before_we_came_is_silent() -> None:
    machine = only(fleet_of(record(time=NOW - 240)))
    assert machine.concerns == (Concern.SILENT,)
    assert machine.last_seen == NOW - 240
    assert not machine.trains


def test_goodbye_is_no_silence() -> None:
    made = fleet_of(record(time=NOW, state=LEFT))
    assert only(made, NOW + 100).concerns == ()
    made.tidy(NOW + fleet.FORGET_LEFT_SECONDS + 1)
    assert len(made) == 0


def test_silent_machine_is_forgotten_after_a_day() -> None:
    made = Fleet()
    made.take({"key": record(time=NOW, peer_ids=("QmSeen",))}, NOW, peers=SEEN)
    made.tidy(NOW + HOUR)
    assert len(made) == 1
    made.tidy(NOW + fleet.FORGET_SECONDS + 1)
    assert len(made) == 0


def test_fleet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MAX_MACHINES", 3)
    assert len(fleet_of(*[record(time=NOW)] * 5)) == 3


def test_another_swarm_has_other_machines() -> None:
    made = fleet_of(record(time=NOW))
    made.dropped[Flaw.WRONG_KEY] += 1
    made.clear()
    assert (len(made), made.dropped.total()) == (0, 0)


# --- who needs a look ----------------------------------------------------------------------------


def test_silent_after_half_a_minute() -> None:
    made = fleet_of(record(time=NOW, temperature=99.0))
    assert only(made, NOW + 29).concerns == (Concern.HOT,)
    assert only(made, NOW + 31).concerns == (Concern.SILENT,)


def test_nobody_is_silent_because_we_read_seldom() -> None:
    made = fleet_of(record(time=NOW))
    made.pace = 60.0  # a thousand machines, while nobody looks
    assert only(made, NOW + 119).concerns == ()
    assert only(made, NOW + 121).concerns == (Concern.SILENT,)


def test_hot_and_failing() -> None:
    assert only(fleet_of(record(time=NOW, temperature=86.0))).concerns == (Concern.HOT,)
    failed = fleet_of(record(time=NOW, state="failed", last_error="out of memory"))
    assert only(failed).concerns == (Concern.FAILING,)


def test_slow_against_its_own_usual_rate() -> None:
    made = Fleet()
    end = train(made, [100.0] * 200 + [50.0] * 20)
    assert only(made, end).concerns == (Concern.SLOW,)


def test_steady_machine_is_not_slow_however_slow_it_is() -> None:
    made = Fleet()
    end = train(made, [1.0] * 300)
    assert only(made, end).concerns == ()


def test_one_slow_report_and_a_young_machine_are_no_concern() -> None:
    made = Fleet()
    assert only(made, train(made, [100.0] * 200 + [50.0])).concerns == ()
    young = Fleet()
    assert only(young, train(young, [100.0] * 20 + [50.0] * 20)).concerns == ()


def test_paused_machine_is_not_slow() -> None:
    made = Fleet()
    train(made, [100.0] * 300)
    made.take({"key": record(sequence=999, state="paused", samples_per_second=None)}, NOW + 1500)
    assert only(made, NOW + 1500).concerns == ()


# --- sums ----------------------------------------------------------------------------------------


def test_totals_are_of_those_that_are_there() -> None:
    made = fleet_of(
        record(time=NOW, samples_per_second=100.0, power=200.0),
        record(time=NOW, samples_per_second=50.0, power=None, temperature=90.0),
        record(time=NOW, state="paused", samples_per_second=None, power=30.0),
        record(time=NOW - 100, samples_per_second=70.0, power=300.0),  # silent
        record(time=NOW, state=LEFT, samples_per_second=70.0, power=300.0),
    )
    sums = totals(made.machines(NOW))
    assert (sums.machines, sums.training) == (3, 2)
    assert (sums.samples_per_second, sums.power, sums.need_a_look) == (150.0, 230.0, 2)


def test_labs_in_order() -> None:
    made = fleet_of(*[record(lab=lab) for lab in ("b", "", "A", "b")])
    assert labs(made.machines(NOW)) == ["A", "b"]


def test_aliases_by_peer_id() -> None:
    made = fleet_of(
        record(alias="one", peer_ids=("a", "b")),
        record(alias="two", peer_ids=("c",)),
        record(alias="thief", peer_ids=("c",)),
    )
    assert made.aliases() == {"a": "one", "b": "one"}  # nobody knows whose "c" is


# --- over time -----------------------------------------------------------------------------------


def test_track_keeps_the_last_value_of_a_step_and_gaps() -> None:
    track = Track(step=10, length=6)
    for time, value in ((0, 1.0), (5, 2.0), (30, 3.0), (41, None)):
        track.add(time, value)
    times, values = track.since(0)
    assert times == [5, 15, 25, 35, 45]
    assert [value for value in values if not math.isnan(value)] == [2.0, 3.0]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.none() | st.floats(0, 1e6, width=32))))
def test_track_is_bounded_and_in_order_whatever_the_clock_does(
    points: list[tuple[float, float | None]],
) -> None:
    track = Track(step=10, length=30)
    for time, value in points:
        track.add(time, value)
    times, values = track.since(0)
    assert len(times) == len(values) <= 30
    assert times == sorted(set(times))


def test_track_of_an_hour_and_of_a_day() -> None:
    made = Fleet()
    end = train(made, [float(n) for n in range(1440)], step=10.0)
    times, values = made.track("key", "samples_per_second", seconds=HOUR, now=end)
    assert 359 <= len(values) <= 361
    assert values[-1] == 1439.0
    times, values = made.track("key", "samples_per_second", seconds=24 * HOUR, now=end)
    assert times[-1] - times[0] > 3.9 * HOUR
    assert made.track("nobody", "loss", seconds=HOUR, now=end) == ([], [])


def test_thousand_machines_are_taken_in() -> None:
    made = Fleet()
    made.take(crowd(1000, now=NOW), NOW)
    assert len(made.machines(NOW)) == 1000


# --- made-up machines ----------------------------------------------------------------------------

SEEN = frozenset({"QmSeen"})


def made_up(count: int, *, start: int = 0, **changes: Any) -> dict[str, MachineRecord]:
    return {f"fake{number}": record(**changes) for number in range(start, start + count)}


def test_silent_made_up_machines_give_their_places_to_newcomers() -> None:
    made = Fleet()
    made.take(made_up(6000, time=NOW, peer_ids=()), NOW)
    assert len(made) == fleet.MAX_MACHINES
    later = NOW + 31.0
    made.take({"real": record(time=later, peer_ids=())}, later)
    assert "real" in {machine.public_key for machine in made.machines(later)}
    assert len(made) == fleet.MAX_MACHINES


def test_machine_of_a_seen_peer_takes_the_place_of_a_made_up_one_that_lives() -> None:
    made = Fleet()
    made.take(made_up(5000, time=NOW, peer_ids=()), NOW)
    made.take({"stranger": record(time=NOW, peer_ids=())}, NOW, peers=SEEN)
    made.take({"real": record(time=NOW, peer_ids=("QmSeen",))}, NOW, peers=SEEN)
    keys = {machine.public_key for machine in made.machines(NOW)}
    assert "real" in keys
    assert "stranger" not in keys


def test_flood_does_not_displace_a_machine_whose_peer_was_seen() -> None:
    made = Fleet()
    made.take({"real": record(time=NOW, peer_ids=("QmSeen",))}, NOW, peers=SEEN)
    for hour in range(1, 12):
        now = NOW + 3600.0 * hour
        made.take(made_up(6000, start=6000 * hour, time=now, peer_ids=()), now, peers=SEEN)
    assert "real" in {machine.public_key for machine in made.machines(now)}


def test_peer_vouches_for_few_machines() -> None:
    made = Fleet()
    liars = made_up(5000, time=NOW, peer_ids=("QmSeen",))
    made.take(liars, NOW, peers=SEEN)
    other = record(time=NOW, peer_ids=("QmOther",))
    made.take({"real": other}, NOW, peers=SEEN | {"QmOther"})
    assert "real" in {machine.public_key for machine in made.machines(NOW)}


def test_silent_stranger_is_forgotten_soon() -> None:
    made = Fleet()
    made.take({"stranger": record(time=NOW, peer_ids=())}, NOW)
    made.take({"seen": record(time=NOW, peer_ids=("QmSeen",))}, NOW, peers=SEEN)
    made.tidy(NOW + 3600.0)
    assert [machine.public_key for machine in made.machines(NOW + 3600.0)] == ["seen"]


def test_earlier_figures_come_before_those_that_are_there() -> None:
    made = fleet_of(record(time=NOW, loss=2.0))
    nan = math.nan
    rows = [(NOW - 20.0, 80.0, 3.0, nan, nan, nan, nan), (NOW + 3, 1.0, 9.0, nan, nan, nan, nan)]
    made.restore("key0", fine=rows, rough=[])
    times, losses = made.track("key0", "loss", seconds=HOUR, now=NOW)
    known = [each for each in zip(times, losses, strict=True) if not math.isnan(each[1])]
    assert known == [
        (NOW - 15.0, 3.0),
        (NOW + 5.0, 2.0),
    ]
    made.restore("nobody", fine=rows, rough=rows)
    assert len(made) == 1


def test_all_figures_of_a_time() -> None:
    made = fleet_of(record(time=NOW, loss=2.0))
    made.take({"key0": record(time=NOW + 10, loss=1.9, sequence=2)}, NOW + 10)
    times, *values = made.tracks("key0", since=NOW, until=NOW + 10)
    assert times == [NOW + 5.0]
    assert values[1] == [2.0]
    assert made.tracks("nobody", since=0.0, until=NOW) == [[]] * 7
