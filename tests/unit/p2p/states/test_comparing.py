"""Two donors' bytes, held against each other."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.p2p.states import comparing, download
from app.p2p.states.comparing import are_finite, are_near, opinions, random_pieces
from app.p2p.states.download import DonorCalls, SaidLayout
from app.p2p.states.wire import Header
from tests.support.training.states import Donor, SmallSwarm


def test_pieces_lie_within_the_parameters() -> None:
    for end in (4, 4096, 10**7):
        pieces = random_pieces(end)
        assert all(0 <= begin < last <= end and begin % 4 == 0 for begin, last in pieces)
    assert random_pieces(10**7) != random_pieces(10**7)


@pytest.mark.parametrize(
    ("change", "epochs", "near"),
    [(0.0, 0, True), (0.05, 0, True), (1.0, 0, False), (1.0, 1000, True), (np.nan, 1000, False)],
)
def test_they_may_be_some_steps_apart(change: float, epochs: int, near: bool) -> None:
    ours = np.ones(100, dtype="<f4")
    theirs = ours + np.float32(change)
    pieces = ours.tobytes(), theirs.astype("<f4").tobytes()
    assert are_near(*pieces, epochs=epochs, step_size=0.001) is near


def test_values_that_are_not_finite_are_found_wherever_they_are() -> None:
    values = np.ones(2**19, dtype="<f4")
    assert are_finite(values.tobytes(), values.nbytes)
    values[-1] = np.inf
    assert not are_finite(values.tobytes(), values.nbytes)
    assert are_finite(values.tobytes(), values.nbytes - 4)


STATE = np.ones(100, dtype="<f4").tobytes()
SAID = Header(epoch=7, size=400, layout="ours", parameters_end=400)


async def said_by(*others: Any) -> tuple[int, int]:
    async def arrived(_size: int) -> None:
        """At full speed."""

    swarm = SmallSwarm.of(*others)
    calls = DonorCalls(stub=swarm.stub, arrived=arrived)
    return await opinions(
        calls, swarm.by_peer, layout=SaidLayout.of(SAID), content=STATE, epoch=7, step_size=0.001
    )


async def test_a_donor_with_another_layout_holds_another_state() -> None:
    same = Donor(content=STATE, snapshot=SAID)
    other = Donor(
        content=STATE, snapshot=Header(epoch=7, size=400, layout="theirs", parameters_end=400)
    )
    mute = Donor(content=STATE, is_mute=True)
    assert await said_by(same) == (1, 0)
    assert await said_by(other, mute, same) == (1, 1)


class Endless:
    """Sends nothing again and again."""

    async def rpc_send_state(self, _request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        return self._replies()

    async def _replies(self) -> AsyncIterator[Any]:
        yield SAID.pack()
        while True:
            yield SimpleNamespace(metadata=b"")


async def test_a_donor_that_sends_nothing_for_ever_has_no_opinion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "SLOWEST_SECONDS", 0.01)
    assert await said_by(Endless()) == (0, 0)


class Silent:
    """Never answers."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.is_left = False

    async def rpc_send_state(self, _request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        self.is_asked.set()
        try:
            return await asyncio.Future[Any]()
        finally:
            self.is_left = True


class Slow(Donor):
    """Answers when all of the others have been asked."""

    after: tuple[Silent, ...] = ()

    async def rpc_send_state(self, request: Any) -> AsyncIterator[Any]:
        """As a stub has it."""
        for each in self.after:
            await each.is_asked.wait()
        return await super().rpc_send_state(request)


def same() -> Donor:
    return Donor(content=STATE, snapshot=SAID)


def different() -> Donor:
    other = np.full(100, 9.0, dtype="<f4").tobytes()
    return Donor(content=other, snapshot=SAID)


async def test_silent_donors_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "BESIDE_SECONDS", 0.001)
    silent = [Silent() for _ in range(40)]
    assert await said_by(*silent, same(), same(), same()) == (3, 0)
    assert all(each.is_left for each in silent)


async def test_who_answers_first_does_not_decide_alone() -> None:
    assert await said_by(same(), different(), different()) == (1, 2)


async def test_not_all_donors_copy_their_state_for_one_newcomer() -> None:
    donors = [same() for _ in range(40)]
    assert await said_by(*donors) == (comparing.ENOUGH, 0)
    assert sum(len(each.asked) for each in donors) == comparing.ENOUGH


async def test_when_time_is_over_enough_answers_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "BESIDE_SECONDS", 0.001)
    monkeypatch.setattr(comparing, "OPINION_SECONDS", 0.0)
    silent = Silent()
    assert await said_by(silent, different(), different(), different()) == (0, 3)
    assert await said_by(same(), silent) == (1, 0)


async def test_a_slow_donor_counts_where_nobody_else_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "BESIDE_SECONDS", 0.001)
    monkeypatch.setattr(comparing, "OPINION_SECONDS", 0.0)
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    slow = Slow(content=STATE, snapshot=SAID)
    slow.after = tuple(Silent() for _ in range(20))
    assert await said_by(slow, *slow.after) == (1, 0)
