"""Two donors' bytes, held against each other."""

import numpy as np
import pytest

from app.p2p.states.comparing import are_near, random_pieces


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
