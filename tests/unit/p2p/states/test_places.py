"""Who loses its place among those that download from us."""

import math
from dataclasses import dataclass

import pytest
from hivemind.p2p import PeerID

from app.p2p.states import places as module
from app.p2p.states.download import BRISK
from app.p2p.states.places import MOST_DOWNLOADS, TRIAL_SECONDS, DownloadPlaces

PEERS = [PeerID(b"\x12\x20" + bytes([number] * 32)) for number in range(MOST_DOWNLOADS + 1)]
*FIRST, LATE = PEERS


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        """As `time` has it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def downloading(clock: Clock, *, slow: int, rate: float, seconds: float) -> DownloadPlaces:
    """All places are taken for some time; the one of the peer of that number takes ``rate`` bytes
    a second, the others twice what they must."""
    places = DownloadPlaces()
    taken = [places.take(peer) for peer in FIRST]
    for _second in range(round(seconds)):
        clock.now += 1
        for number, (peer, place) in enumerate(zip(FIRST, taken, strict=True)):
            assert place is not None
            size = round(rate if number == slow else 2 * BRISK)
            assert places.is_kept(peer, place, size=size)
    return places


def test_nobody_loses_its_place_at_once(clock: Clock) -> None:
    places = downloading(clock, slow=3, rate=1.0, seconds=TRIAL_SECONDS / 2)
    assert places.take(LATE) is None


@pytest.mark.parametrize("seconds", [TRIAL_SECONDS, 1.5 * TRIAL_SECONDS, 10 * TRIAL_SECONDS])
def test_who_dribbles_loses_it_to_another(clock: Clock, seconds: float) -> None:
    places = downloading(clock, slow=3, rate=0.5 * BRISK, seconds=seconds)
    assert len(places) == MOST_DOWNLOADS
    late = places.take(LATE)
    assert late is not None
    assert places.take(FIRST[3]) is None  # it waits for a place now
    assert places.take(FIRST[4]) is None  # it has one


def test_nobody_loses_it_who_is_brisk(clock: Clock) -> None:
    places = downloading(clock, slow=3, rate=1.5 * BRISK, seconds=5 * TRIAL_SECONDS)
    assert places.take(LATE) is None


def test_who_stops_after_a_brisk_beginning_loses_it(clock: Clock) -> None:
    places = downloading(clock, slow=3, rate=math.ceil(2 * BRISK), seconds=TRIAL_SECONDS)
    clock.now += 3 * TRIAL_SECONDS
    assert places.take(LATE) is not None


def test_a_slow_peer_keeps_it_where_nobody_else_wants_it(clock: Clock) -> None:
    places = downloading(clock, slow=3, rate=1.0, seconds=10 * TRIAL_SECONDS)
    assert len(places) == MOST_DOWNLOADS
