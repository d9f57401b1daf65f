"""Two donors' bytes, held against each other."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.p2p.states import download
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
