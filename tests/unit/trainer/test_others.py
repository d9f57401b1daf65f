"""The wait for the others before the first step."""

from concurrent.futures import Future
from typing import Any

import pytest

from app.protocol import Waiting
from app.trainer import others

A, B = "/ip4/10.0.0.1/tcp/8080/p2p/QmA", "/ip4/10.0.0.2/tcp/8080/p2p/QmB"


class Looks:
    """Stands for the DHT process: what is seen at each look, the last one for ever."""

    def __init__(self, *seen: "others.Seen | Exception") -> None:
        self.seen = list(seen)
        self.count = 0

    def run_coroutine(self, _look: Any, *, return_future: bool) -> "Future[others.Seen]":
        assert return_future
        self.count += 1
        found = self.seen[min(self.count, len(self.seen)) - 1]
        answer: Future[others.Seen] = Future()
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)
        return answer


def seen(doors: str = "", trainers: str = "", answer: str = "") -> others.Seen:
    return frozenset(doors.split()), frozenset(trainers.split()), frozenset(answer.split())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes by being slept."""
    now = [0.0]
    monkeypatch.setattr(others.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(others.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def waited(looks: Looks, *doors: str) -> list[Waiting]:
    said: list[Waiting] = []
    others.see_others(looks, doors=doors, run_id="run", report=said.append)  # type: ignore[arg-type]
    return said


def test_the_first_of_a_swarm_waits_for_nobody() -> None:
    looks = Looks(seen())
    assert waited(looks) == []
    assert looks.count == 1


def test_it_waits_until_all_doors_answer_and_says_so_once() -> None:
    looks = Looks(seen("QmA"), seen("QmA"), seen("QmA QmB"))
    assert waited(looks, A, B) == [Waiting(whom="doors", seen=1, known=2)]
    assert looks.count == 3


def test_a_door_of_two_addresses_is_one() -> None:
    assert waited(Looks(seen("QmA")), A, A.replace("10.0", "192.168")) == []


def test_any_trainer_of_those_that_are_known_is_enough() -> None:
    looks = Looks(seen("", "QmS QmT"), seen("", "QmS QmT", "QmT"))
    assert waited(looks) == [Waiting(whom="trainers", seen=0, known=2)]
    assert looks.count == 2


def test_doors_come_first() -> None:
    looks = Looks(seen("", "QmT"), seen("QmA", "QmT"), seen("QmA", "QmT", "QmT"))
    assert [each.whom for each in waited(looks, A)] == ["doors", "trainers"]


def test_a_door_that_is_off_for_good_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks(seen("QmA"))
    waited(looks, A, B)
    assert looks.count == pytest.approx(others.PATIENCE_SECONDS / others.LOOK_SECONDS, abs=3)
    assert "training without the others: 1 of 2 doors" in caplog.text


def test_a_lost_reply_is_asked_for_again() -> None:
    assert waited(Looks(TimeoutError(), seen("QmA")), A) == [Waiting(whom="doors", seen=0, known=1)]
