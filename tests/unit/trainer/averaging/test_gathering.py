"""Whom a leader waits for, and when a search for a group is given up."""

from concurrent.futures import Future
from typing import Any

import pytest
from hivemind.averaging.control import AveragingStage

from app.trainer.averaging.gathering import Mates, gave_up


def some(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_those_of_our_epoch_are_awaited() -> None:
    mates = Mates()
    assert mates.expect(some("a", "b"), others=some("a", "b", "behind"))
    assert mates.awaited == some("a", "b")
    assert not mates.expect(some("a", "b"), others=some("a"))


def test_member_of_our_last_group_is_awaited_although_its_record_is_old() -> None:
    mates = Mates()
    mates.came(["a", "b", "gone"])
    mates.expect(some("a"), others=some("a", "b"))
    assert mates.awaited == some("a", "b")


def test_who_did_not_come_is_not_awaited_in_the_next_round() -> None:
    mates, seen = Mates(), some("a", "dead")
    for awaited in (seen, some("a"), seen):
        mates.expect(seen, others=seen)
        assert mates.awaited == awaited
        mates.came(["a"])


def test_all_are_awaited_after_a_round_without_a_group() -> None:
    mates, seen = Mates(), some("a", "b")
    mates.expect(seen, others=seen)
    mates.came([])
    mates.expect(seen, others=seen)
    assert mates.awaited == seen


class Control(Future[Any]):
    """Of a round that looks for a group: hivemind's is a future as well, between processes."""

    stage = AveragingStage.LOOKING_FOR_GROUP


@pytest.fixture
def control() -> Any:
    return Control()


def test_search_ends_once_it_is_in_vain(control: Any) -> None:
    answers = iter((False, False, True))
    assert gave_up(control, lambda: next(answers), every=0.01, most=60.0)
    assert control.cancelled()


def test_group_that_was_found_is_not_left(control: Any) -> None:
    control.stage = AveragingStage.AWAITING_TRIGGER
    assert not gave_up(control, lambda: True, every=0.01, most=60.0)
    assert not control.done()


def test_round_that_ends_by_itself_is_no_search_in_vain(control: Any) -> None:
    control.set_exception(TimeoutError())
    assert not gave_up(control, lambda: True, every=0.01, most=60.0)


def test_search_is_waited_for_no_longer_than_a_round(control: Any) -> None:
    assert not gave_up(control, lambda: False, every=0.01, most=0.05)
