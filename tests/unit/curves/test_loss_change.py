"""How a loss changed while this machine was there: real figures, or none."""

import pytest

from app.curves.loss_change import FEWEST, loss_change
from app.state.history import History

NOW = 1_800_000_000.0
HOUR = 3600.0


def test_own_evaluations_within_the_time_count() -> None:
    history = History()
    for ago, loss in ((9, 9.0), (5, 4.1), (4, 3.6), (3, 3.2), (1, 2.0)):
        history.held_out_loss.add(NOW - ago * HOUR, loss)
        history.swarm_held_out_loss.add(NOW - ago * HOUR, 8.0)
    found = loss_change(history, since=NOW - 5.5 * HOUR, until=NOW - 2.5 * HOUR, now=NOW)
    assert found is not None
    assert (found.before, found.after, found.unseen) == (4.1, 3.2, True)
    assert [round(loss, 1) for _time, loss in found.points] == [4.1, 3.6, 3.2]


def test_the_swarms_evaluations_stand_in_for_ours() -> None:
    history = History()
    history.held_out_loss.add(NOW - HOUR, 1.0)  # one alone is no change
    for ago, loss in ((2, 4.0), (1, 5.0)):
        history.swarm_held_out_loss.add(NOW - ago * HOUR, loss)
    found = loss_change(history, since=NOW - 3 * HOUR, until=NOW, now=NOW)
    assert found is not None
    assert (found.before, found.after) == (4.0, 5.0)  # also when it got worse


def test_without_evaluations_the_noisy_loss_of_training_is_averaged() -> None:
    history = History()
    count = 2 * FEWEST
    for index in range(count):
        history.swarm_loss.add(NOW - count + index, (4.0 if index < count / 2 else 3.0) + index % 2)
    found = loss_change(history, since=NOW - 100, until=NOW, now=NOW)
    assert found is not None
    assert (found.before, found.after, found.unseen) == (4.5, 3.5, False)


def test_one_evaluation_told_again_and_again_is_no_change() -> None:
    history = History()
    for ago in range(60, 0, -2):
        history.swarm_held_out_loss.add(NOW - ago, 3.2)
    assert loss_change(history, since=NOW - 100, until=NOW, now=NOW) is None


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_little_says_nothing(count: int) -> None:
    history = History()
    for index in range(count):
        history.loss.add(NOW - 50 + index, 3.0)
    assert loss_change(history, since=NOW - 100, until=NOW, now=NOW) is None
