"""Curves of bounded size, finer for the recent past."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.state.events import JoinBegan, Left, PeersListed, RunObserved, TrainerGone
from app.state.facts import Problem, Swarm
from app.state.history import BUCKETS, GONE_SECONDS, RESOLUTIONS, ROUNDS, History, Series


def series(*points: tuple[float, float | None], resolutions: tuple[float, ...] = (1.0,)) -> Series:
    made = Series(resolutions)
    for time, value in points:
        made.add(time, value)
    return made


def points(of: Series, since: float = 0.0, now: float = 100.0) -> list[tuple[float, float]]:
    """NaN, which is never equal, as -1."""
    times, values = of.since(since, now)
    return [
        (time, -1.0 if math.isnan(value) else value)
        for time, value in zip(times, values, strict=True)
    ]


# --- buckets -------------------------------------------------------------------------------------


def test_bucket_holds_the_mean() -> None:
    assert points(series((5.0, 1.0), (5.5, 2.0), (5.9, 6.0))) == [(5.5, 3.0)]


def test_buckets_follow_each_other() -> None:
    assert points(series((5.0, 1.0), (6.0, 2.0))) == [(5.5, 1.0), (6.5, 2.0)]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out(value: float | None) -> None:
    assert points(series((5.0, 1.0), (5.1, value), (6.0, value))) == [(5.5, 1.0)]


def test_short_gap_is_bridged() -> None:
    assert points(series((0.0, 1.0), (10.0, 2.0))) == [(0.5, 1.0), (10.5, 2.0)]


def test_long_gap_is_a_gap_and_no_zero() -> None:
    assert points(series((0.0, 1.0), (11.0, 2.0))) == [(0.5, 1.0), (1.0, -1.0), (11.5, 2.0)]


def test_a_line_without_gaps_bridges_hours() -> None:
    evaluations = Series(gap=math.inf)
    evaluations.add(0.0, 1.0)
    evaluations.add(50.0, 2.0)
    assert points(evaluations) == [(0.5, 1.0), (50.5, 2.0)]


def test_clock_that_goes_back_stays_in_the_last_bucket() -> None:
    found = points(series((5.0, 1.0), (3.0, 3.0), (6.0, 5.0)))
    assert found == [(5.5, 2.0), (6.5, 5.0)]


def test_earlier_points_are_left_out() -> None:
    made = series(*((float(second), 1.0) for second in range(10)))
    assert [time for time, _ in points(made, since=7.5)] == [7.5, 8.5, 9.5]


def test_nothing_is_an_empty_curve() -> None:
    assert Series().since(0.0, 1.0) == ([], [])


# --- rings ---------------------------------------------------------------------------------------

HOUR = 3600.0


@pytest.mark.parametrize(
    ("span", "resolution"),
    [
        (60.0, RESOLUTIONS[0]),
        (BUCKETS * RESOLUTIONS[0], RESOLUTIONS[0]),
        (HOUR, RESOLUTIONS[1]),
        (24 * HOUR, RESOLUTIONS[2]),
        (7 * 24 * HOUR, RESOLUTIONS[3]),
        (365 * 24 * HOUR, RESOLUTIONS[3]),
    ],
)
def test_longer_spans_are_coarser(span: float, resolution: float) -> None:
    now = 2e9
    made = series((now - span, 1.0), (now - 1.0, 1.0), resolutions=RESOLUTIONS)
    times, _ = made.since(now - span, now)
    assert times[-1] == (math.floor((now - 1.0) / resolution) + 0.5) * resolution


def test_a_long_span_of_which_little_is_known_is_fine() -> None:
    now = 2e9
    lately = [(now - 5.0 + second, float(second)) for second in range(5)]
    made = series(*lately, resolutions=RESOLUTIONS)
    for span in (HOUR, 24 * HOUR, 365 * 24 * HOUR):
        assert made.since(now - span, now)[1] == [0.0, 1.0, 2.0, 3.0, 4.0]
    made = series((now - 30 * 24 * HOUR, 9.0), *lately, resolutions=RESOLUTIONS)
    assert made.since(now - HOUR, now)[1] == [0.0, 1.0, 2.0, 3.0, 4.0]  # of an earlier training
    assert len(made.since(0.0, now)[1]) == 3  # both ends and the gap, by the half-hour


def test_coarser_ring_holds_the_mean_of_all() -> None:
    made = series(
        *((float(second), float(second % 2)) for second in range(2 * BUCKETS)),
        resolutions=RESOLUTIONS,
    )
    _, values = made.since(0.0, 2.0 * BUCKETS)
    assert values == [0.5] * (2 * BUCKETS // 12)


def test_what_the_finest_ring_forgot_the_next_one_keeps() -> None:
    made = series(*((float(second), 1.0) for second in range(2 * BUCKETS)), resolutions=RESOLUTIONS)
    assert points(made, since=0.0, now=2.0 * BUCKETS)[0] == (6.0, 1.0)


def test_length_is_bounded() -> None:
    made = series(*((second, 1.0) for second in range(0, 100_000, 3)), resolutions=RESOLUTIONS)
    assert len(made) == BUCKETS
    assert all(len(ring.buckets) <= BUCKETS for ring in made._rings)


@given(
    entries=st.lists(
        st.tuples(st.floats(0, 1e9), st.none() | st.floats(width=32)),
        max_size=60,
    )
)
def test_times_always_rise(entries: list[tuple[float, float | None]]) -> None:
    times, values = series(*entries, resolutions=RESOLUTIONS).since(0.0, 1e9)
    assert times == sorted(set(times))
    assert len(times) == len(values)


# --- kept and restored ----------------------------------------------------------------------------


def test_the_newest_buckets_are_given_in_order() -> None:
    made = series((5.0, 1.0), (5.5, 2.0), (7.0, 4.0), (9.0, 1.0))
    assert made.buckets(1.0) == [(5, 3.0, 2), (7, 4.0, 1), (9, 1.0, 1)]
    assert made.buckets(1.0, since=7) == [(7, 4.0, 1), (9, 1.0, 1)]


def restored(*later: tuple[float, float | None]) -> Series:
    made = series(*later)
    made.restore(1.0, [(2, 1.0, 1), (3, 6.0, 2)])
    return made


def test_what_is_restored_comes_before_the_rest_with_a_gap() -> None:
    assert points(restored((6.0, 2.0))) == [(2.5, 1.0), (3.5, 3.0), (4.5, -1.0), (6.5, 2.0)]


def test_there_is_one_gap_however_long_it_is() -> None:
    assert points(restored((60.0, 2.0)))[2:] == [(4.5, -1.0), (60.5, 2.0)]


def test_what_comes_after_the_restoring_is_apart_too() -> None:
    made = restored()
    made.add(6.0, 2.0)
    made.add(8.0, 2.0)
    assert points(made)[2:] == [(4.5, -1.0), (6.5, 2.0), (8.5, 2.0)]


def test_neighbours_need_no_gap() -> None:
    assert points(restored((4.0, 2.0))) == [(2.5, 1.0), (3.5, 3.0), (4.5, 2.0)]


def test_a_bucket_that_goes_on_holds_the_mean_of_both() -> None:
    assert points(restored((3.5, 9.0))) == [(2.5, 1.0), (3.5, 5.0)]


def test_curves_without_gaps_have_one_where_the_app_was_away() -> None:
    made = Series((1.0,), gap=math.inf)
    made.restore(1.0, [(2, 1.0, 1)])
    made.add(60.0, 2.0)
    made.add(90.0, 2.0)
    assert points(made) == [(2.5, 1.0), (3.5, -1.0), (60.5, 2.0), (90.5, 2.0)]


def test_clearing_forgets_that_the_line_was_interrupted() -> None:
    made = restored()
    made.clear()
    made.add(6.0, 2.0)
    made.add(8.0, 2.0)
    assert points(made) == [(6.5, 2.0), (8.5, 2.0)]


def test_each_curve_has_a_name() -> None:
    history = History()
    assert history.series["swarm_loss"] is history.swarm_loss
    assert {"loss", "held_out_loss", "samples_per_second"} <= set(history.series)
    assert not {"rounds", "peers"} & set(history.series)


# --- what an event says --------------------------------------------------------------------------


def progress(**changes: Any) -> protocol.Progress:
    fields: dict[str, Any] = {
        "step": 1,
        "epoch": 0,
        "loss": 2.5,
        "samples_per_second": 10.0,
        "tokens_per_second": 100.0,
        "samples": 8,
        "tokens": 80,
        "compute_seconds": 1.0,
        "epoch_samples": 8,
        "swarm_samples": 8,
        "target_batch_size": 64,
        "eta": None,
        "peers": 1,
    }
    return protocol.Progress(**fields | changes)


def test_progress_is_our_curve() -> None:
    history = History()
    history.record(progress(), now=5.0)
    history.record(progress(samples=28), now=9.0)
    assert points(history.loss) == [(5.5, 2.5), (9.5, 2.5)]
    assert points(history.samples_per_second) == [(9.5, 5.0)]  # of the clock's seconds
    assert len(history.swarm_loss) == 0


def test_a_pause_is_a_gap_in_the_rate() -> None:
    history = History()
    for second in range(30):
        paused = second > 10
        rate = None if paused else 10.0
        history.record(
            progress(samples=10 * min(second, 10), samples_per_second=rate), now=float(second)
        )
    assert [time for time, _rate in points(history.samples_per_second)][-1] == 10.5


def test_progress_without_a_loss_leaves_a_gap() -> None:
    history = History()
    history.record(progress(loss=None), now=5.0)
    assert len(history.loss) == 0


def test_observed_run_is_the_swarms_curve() -> None:
    history = History()
    history.record(
        RunObserved(run=Run(loss=3.0, samples_per_second=20.0, held_out_loss=3.5)), now=5.0
    )
    assert points(history.swarm_loss) == [(5.5, 3.0)]
    assert points(history.swarm_held_out_loss) == [(5.5, 3.5)]
    assert len(history.loss) == 0


def test_the_swarms_rate_goes_on_over_its_epochs() -> None:
    history = History()
    seen = ((0.0, 3, 40), (2.0, 3, 60), (4.0, 4, 16))  # an epoch has 64 samples
    for now, epoch, samples in seen:
        run = Run(epoch=epoch, samples=samples, samples_per_second=99.0)
        history.record(RunObserved(run=run), now, batch=64)
    assert points(history.swarm_samples_per_second) == [(2.5, 10.0), (4.5, 10.0)]


def test_how_far_the_run_is_has_a_curve_in_epochs() -> None:
    history = History()
    for now, epoch, samples in ((0.0, 3, 16), (2.0, 3, 99), (4.0, 4, 0)):
        history.record(RunObserved(run=Run(epoch=epoch, samples=samples)), now, batch=64)
    assert points(history.swarm_epoch) == [(0.5, 3.25), (2.5, 4.0), (4.5, 4.0)]


def test_an_evaluation_is_our_held_out_curve() -> None:
    history = History()
    evaluated = protocol.Evaluated(
        epoch=1, loss=3.0, bits_per_byte=2.0, tokens=64, seconds=0.5, time=5.0
    )
    history.record(evaluated, now=5.0)
    assert points(history.held_out_loss) == [(5.5, 3.0)]
    assert len(history.loss) == 0


@pytest.mark.parametrize("event", [RunObserved(run=None), RunObserved(run=Run()), Left()])
def test_other_events_say_nothing(event: Any) -> None:
    history = History()
    history.record(event, now=5.0)
    assert not any(len(curve) for curve in vars(history).values())


# --- rounds and peers ----------------------------------------------------------------------------


def ended(epoch: int, samples: int = 10) -> protocol.RoundEnded:
    return protocol.RoundEnded(epoch=epoch, peers=3, seconds=1.5, samples=samples, failure="")


def test_rounds_are_kept_up_to_a_bound_and_all_are_counted() -> None:
    history = History()
    for epoch in range(ROUNDS + 5):
        history.record(ended(epoch), now=float(epoch))
    history.record(ended(999, samples=0), now=999.0)
    assert len(history.rounds.last) == ROUNDS
    assert (history.rounds.last[-1].epoch, history.rounds.last[-1].time) == (999, 999.0)
    assert (history.rounds.count, history.rounds.samples) == (ROUNDS + 5, 10 * (ROUNDS + 5))


def test_the_line_carries_what_rounds_have_sent() -> None:
    history = History()
    assert history.rounds.upload == 0.0
    for now, sent in ((10.0, 900), (20.0, 100), (22.0, 500), (32.0, 1000)):
        history.record(msgspec.structs.replace(ended(1), bytes_sent=sent), now)
    assert history.rounds.upload == 250.0


def listed(now: float, *peer_ids: str) -> PeersListed:
    return PeersListed(
        peers=tuple(PeerInfo(peer_id=one, address="", last_seen=now) for one in peer_ids)
    )


def test_peer_that_left_is_kept_for_a_while() -> None:
    history = History()
    for now, peers in ((0.0, "ab"), (2.0, "a"), (4.0, "ac")):
        history.record(listed(now, *peers), now)
    assert set(history.peers.here) == {"a", "c"}
    assert history.peers.gone["b"].last_seen == 0.0
    history.record(listed(6.0, *"abc"), 6.0)
    assert not history.peers.gone
    history.record(listed(8.0, "a"), 8.0)
    history.record(listed(9.0 + GONE_SECONDS, "a"), 9.0 + GONE_SECONDS)
    assert not history.peers.gone


def test_another_swarm_begins_anew() -> None:
    history = History()
    history.record(ended(1), 1.0)
    history.record(listed(1.0, "a"), 1.0)
    swarm = Swarm(run_id="x", title="", model_type="gpt2", dataset="", target_batch_size=1)
    history.record(JoinBegan(swarm=swarm), 2.0)
    assert not history.rounds.last
    assert (history.rounds.count, history.rounds.samples, history.peers.here) == (0, 0, {})


def test_counts_crashes_and_failed_rounds_until_another_swarm_is_joined() -> None:
    history = History()
    failed = protocol.RoundEnded(epoch=1, peers=1, seconds=1.0, samples=0, failure="nobody came")
    for event in (
        ended(0),
        failed,
        TrainerGone(),
        TrainerGone(problem=Problem(message="it crashed")),
    ):
        history.record(event, 1.0)
    assert (history.mishaps.crashes, history.mishaps.failed_rounds) == (1, 1)
    history.record(JoinBegan(swarm=None), 2.0)
    assert len(history.mishaps) == 0
