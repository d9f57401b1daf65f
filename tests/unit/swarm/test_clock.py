"""A wrong clock is told, with the way and the size of its error."""

from typing import Any

import pytest

from app.p2p import calls
from app.p2p.calls import CallError
from app.settings.settings import Settings
from app.state.state import ContributorState
from app.state.store import Store
from app.swarm.clock import EVERY_SECONDS, ClockWatch

HOUR = 3600.0
PEERS = ("one", "two", "three")


class Times:
    """Our clock and the others', and the time since the start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running = 1000.0
        self.set_by = 0.0
        self.others_off: dict[str, float | None] = {}
        self.asked = 0
        monkeypatch.setattr(calls, "clock_of", self.clock_of)

    def now(self) -> float:
        return 1.7e9 + self.running + self.set_by

    async def clock_of(self, _node: Any, peer_id: str) -> float:
        self.asked += 1
        off = self.others_off.get(peer_id, 0.0)
        if off is None:
            raise CallError("no answer")
        return 1.7e9 + self.running + off


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


@pytest.fixture
def store() -> Store:
    return Store(settings=Settings(), state=ContributorState())


@pytest.fixture
def watch(store: Store, times: Times) -> ClockWatch:
    return ClockWatch(store, now=times.now, running=lambda: times.running)


async def test_a_right_clock_is_compared_seldom(watch: ClockWatch, times: Times) -> None:
    for _ in range(5):
        await watch.look(None, PEERS)
        times.running += 2.0
    assert times.asked == 3
    times.running += EVERY_SECONDS
    await watch.look(None, PEERS)
    assert times.asked == 6


@pytest.mark.parametrize(
    ("by", "text"),
    [
        (HOUR, "the clock of this machine is 1 h fast"),
        (-HOUR - 61, "the clock of this machine is 1 h 1 min 1 s slow"),
    ],
)
async def test_a_clock_that_jumps_is_noticed_and_so_is_its_mending(
    by: float, text: str, watch: ClockWatch, times: Times, store: Store
) -> None:
    await watch.look(None, PEERS)
    times.set_by = by
    times.running += 2.0
    await watch.look(None, PEERS)
    assert store.state.problem is not None
    assert store.state.problem.message.startswith(text)
    times.set_by = 0.0
    times.running += 2.0
    await watch.look(None, PEERS)
    assert store.state.problem is None


async def test_one_wrong_peer_of_three_is_no_matter(
    watch: ClockWatch, times: Times, store: Store
) -> None:
    times.others_off = {"one": HOUR}
    await watch.look(None, PEERS)
    assert store.state.problem is None


async def test_without_an_answer_it_asks_again(watch: ClockWatch, times: Times) -> None:
    times.others_off = dict.fromkeys(PEERS, None)
    await watch.look(None, PEERS)
    await watch.look(None, PEERS)
    await watch.look(None, ())
    assert times.asked == 6
