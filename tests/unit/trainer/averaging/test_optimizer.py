"""What the optimizer makes of a round's group, or of none, without averagers."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.averaging.control import AveragingStage
from hivemind.p2p import PeerID

from app.trainer.averaging.optimizer import LEFT_BEHIND, NOTHING_ARRIVED, CitizenOptimizer

EPOCH = 7


def peer(number: int) -> PeerID:
    return PeerID(b"\x12\x20" + bytes([number]) * 32)


def names(*numbers: int) -> frozenset[str]:
    return frozenset(peer(number).to_base58() for number in numbers)


@pytest.fixture
def optimizer() -> Any:
    """One in an epoch, whose others can be set."""
    made: Any = CitizenOptimizer.__new__(CitizenOptimizer)
    made._parent_pid = 0  # hivemind's clean-up is for whoever made averagers
    made.state_averager = SimpleNamespace(local_epoch=EPOCH)
    made.grad_averager = SimpleNamespace(arrived=1.0)
    made.tracker = SimpleNamespace(look=lambda: EPOCH)
    made.averaging_timeout, made.matchmaking_time = 60.0, 0.01
    made._failure, made._peers = "", 1
    made._awaited = made._absent = made._members = frozenset()
    return made


class Control(Future[Any]):
    """Of a round that looks for a group: hivemind's is a future as well, between processes."""

    stage = AveragingStage.LOOKING_FOR_GROUP


@pytest.fixture
def control() -> Any:
    return Control()


def test_search_ends_once_most_others_are_in_the_next_epoch(optimizer: Any, control: Any) -> None:
    epochs = iter((EPOCH, EPOCH, EPOCH + 1))
    optimizer.tracker.look = lambda: next(epochs)
    optimizer._leave_if_behind(control)
    assert control.cancelled()
    optimizer._note_outcome(control)
    assert (optimizer._failure, optimizer._peers) == (LEFT_BEHIND, 1)


def test_group_that_was_found_is_not_left(optimizer: Any, control: Any) -> None:
    control.stage = AveragingStage.AWAITING_TRIGGER
    optimizer._leave_if_behind(control)
    assert not control.done()


def test_who_was_awaited_and_did_not_come_is_absent(optimizer: Any, control: Any) -> None:
    optimizer._awaited = names(1, 2)
    control.set_result({peer(0): EPOCH, peer(1): EPOCH})
    optimizer._note_outcome(control)
    assert (optimizer._members, optimizer._absent) == (names(0, 1), names(2))
    assert optimizer._failure == ""


def test_round_of_which_nothing_arrived_has_failed(optimizer: Any, control: Any) -> None:
    optimizer.grad_averager.arrived = 0.0
    control.set_result({peer(0): EPOCH, peer(1): EPOCH})
    optimizer._note_outcome(control)
    assert optimizer._failure == NOTHING_ARRIVED
