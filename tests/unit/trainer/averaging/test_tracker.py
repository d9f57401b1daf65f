"""What the trainer believes of its swarm's progress."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.optim.progress_tracker import LocalTrainingProgress
from hivemind.p2p import PeerID
from hivemind.utils.performance_ema import PerformanceEMA
from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time

from app.trainer.averaging.tracker import PacedTracker

TARGET = 512


def peer(number: int) -> bytes:
    return b"\x12\x20" + bytes([number]) * 32


def record(number: int, **changes: Any) -> dict[str, Any]:
    plain = {
        "peer_id": peer(number),
        "epoch": 7,
        "samples_accumulated": 100,
        "samples_per_second": 10.0,
        "time": get_dht_time(),
        "client_mode": False,
    }
    return plain | changes


@pytest.fixture
def tracker() -> PacedTracker:
    """One at epoch 7 that reads nothing by itself."""
    made = PacedTracker.__new__(PacedTracker)
    threading.Thread.__init__(made)
    made.target_batch_size = TARGET
    made.local_progress = LocalTrainingProgress(**record(0))
    made.performance_ema = PerformanceEMA(alpha=0.1)
    made.prefix, made.status_loglevel = "run", 10
    made.default_refresh_period, made.min_refresh_period, made.max_refresh_period = 3.0, 0.5, 10.0
    made.expected_drift_peers, made.expected_drift_rate = 3.0, 0.2
    made.shutdown_triggered = threading.Event()
    made._in_step = 7, time.monotonic()
    made._left_out = {}
    return made


def read(tracker: PacedTracker, *records: dict[str, Any]) -> Any:
    data = {
        f"key {number}".encode(): ValueWithExpiration(each, get_dht_time() + 60.0)
        for number, each in enumerate(records)
    }
    return tracker._parse_swarm_progress_data(data)


def test_honest_records_are_summed_up(tracker: PacedTracker) -> None:
    seen = read(tracker, record(0), record(1, samples_accumulated=60), record(2))
    assert (seen.epoch, seen.samples_accumulated, seen.num_peers) == (7, 260, 3)


def test_forged_epoch_is_not_followed(tracker: PacedTracker) -> None:
    forged = record(9, epoch=10**6, samples_accumulated=0)
    seen = read(tracker, record(0), record(1), record(2), forged)
    assert (seen.epoch, seen.samples_accumulated) == (7, 300)


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_fastest_peer_is_not_thrown_out_by_one_liar(
    tracker: PacedTracker, others: int, ahead: int
) -> None:
    tracker._in_step = 7, time.monotonic() - 60.0
    honest = [record(number, epoch=6) for number in range(1, 1 + others)]
    seen = read(tracker, record(0), *honest, record(9, epoch=7 + ahead))
    assert seen.epoch == 7


def test_swarm_that_went_on_is_followed(tracker: PacedTracker) -> None:
    seen = read(tracker, record(0), record(1, epoch=8), record(2, epoch=8), record(3))
    assert seen.epoch == 8
    assert seen.samples_accumulated == 200


def test_mates_compute_in_our_epoch(tracker: PacedTracker) -> None:
    ahead, resting = record(2, epoch=8), record(3, samples_per_second=0.0)
    read(tracker, record(0), record(1), ahead, resting)
    assert tracker.mates == {PeerID(peer(1)).to_base58()}


def test_only_other_peer_is_followed(tracker: PacedTracker) -> None:
    assert read(tracker, record(0), record(1, epoch=8)).epoch == 8


def test_only_other_peer_is_not_followed_where_nobody_can_be(tracker: PacedTracker) -> None:
    assert read(tracker, record(0), record(9, epoch=10**6)).epoch == 7


def test_newcomer_follows_the_swarm(tracker: PacedTracker) -> None:
    tracker.local_progress = LocalTrainingProgress(**record(0, epoch=0))
    assert read(tracker, record(1, epoch=10**4)).epoch == 10**4


def test_peer_that_was_away_for_long_follows_the_swarm(tracker: PacedTracker) -> None:
    tracker._in_step = 7, time.monotonic() - 3600.0
    assert read(tracker, record(0), record(1, epoch=2000)).epoch == 2000


def test_forged_samples_count_for_one_batch_at_most(tracker: PacedTracker) -> None:
    seen = read(tracker, record(0), record(9, samples_accumulated=2**50))
    assert seen.samples_accumulated == 100 + TARGET


def test_forged_rate_does_not_end_the_epoch(tracker: PacedTracker) -> None:
    forged = record(9, samples_per_second=1e9, samples_accumulated=0)
    seen = read(tracker, record(0), record(1), record(2), forged)
    assert seen.eta_next_epoch > get_dht_time() + 0.5


def test_second_record_for_a_peer_does_not_count(tracker: PacedTracker) -> None:
    seen = read(tracker, record(0), record(1), record(1, epoch=10**6), record(1))
    assert (seen.epoch, seen.num_peers) == (7, 2)


def test_peer_that_shares_no_group_with_us_does_not_count(tracker: PacedTracker) -> None:
    tracker.leave_out(PeerID(peer(9)).to_base58(), until=time.time() + 60.0)
    seen = read(tracker, record(0), record(1), record(9, epoch=8))
    assert (seen.epoch, seen.samples_accumulated, seen.num_peers) == (7, 200, 2)


def test_peer_counts_again_after_its_time(tracker: PacedTracker) -> None:
    tracker.leave_out(PeerID(peer(9)).to_base58(), until=time.time() - 1.0)
    assert read(tracker, record(0), record(9)).samples_accumulated == 200


def test_who_computes_is_known_by_name(tracker: PacedTracker) -> None:
    read(tracker, record(0), record(1), record(2, samples_per_second=0.0))
    assert tracker.others == {PeerID(peer(1)).to_base58()}


@pytest.mark.parametrize("nothing", [None, {}, SimpleNamespace()])
def test_without_records_it_is_alone(tracker: PacedTracker, nothing: Any) -> None:
    tracker.performance_ema.update(task_size=10, interval=1.0)
    seen = tracker._parse_swarm_progress_data(nothing)
    assert (seen.epoch, seen.samples_accumulated, seen.num_peers) == (7, 100, 0)
