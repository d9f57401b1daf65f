"""Who leads, whatever of the peers answer."""

from collections.abc import Sequence

import pytest

from app.trainer.exchange.election import CutOffError, NoAnswerError, find_leader, order

PEERS = list("abcdef")


def rank_of(peer_id: str) -> bytes:
    return peer_id.encode()


class Answers:
    """What each peer answers; who isn't there is silent."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def __call__(self, peer_id: str, skipped: Sequence[str]) -> str:
        self.asked.append((peer_id, tuple(skipped)))
        if peer_id not in self.answers:
            raise NoAnswerError
        return self.answers[peer_id]


def test_all_have_the_same_order_and_each_epoch_another() -> None:
    orders = {tuple(order("run", epoch, PEERS)) for epoch in range(100)}
    assert len({each[0] for each in orders}) == len(PEERS)
    assert order("run", 1, PEERS) == order("run", 1, set(PEERS)) != order("other", 1, PEERS)


async def test_the_first_that_answers_leads() -> None:
    answers = Answers(c="c", d="d")
    assert await find_leader("abcd", ask=answers, rank_of=rank_of) == "c"
    assert answers.asked == [("a", ()), ("b", ("a",)), ("c", ("a", "b"))]


async def test_nobody_answers() -> None:
    assert await find_leader("ab", ask=Answers(), rank_of=rank_of) is None


async def test_who_cannot_reach_the_leader_of_the_others_leads_no_second_round() -> None:
    with pytest.raises(CutOffError):
        await find_leader("ab", ask=Answers(b="a"), rank_of=rank_of)


async def test_a_leader_that_another_knows_is_asked() -> None:
    assert await find_leader("bc", ask=Answers(b="a", a="a"), rank_of=rank_of) == "a"


async def test_a_peer_that_names_one_behind_itself_is_passed_over() -> None:
    assert await find_leader("ab", ask=Answers(a="f", b="b"), rank_of=rank_of) == "b"
