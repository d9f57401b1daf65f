"""The wait for the others before the first step."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.p2p import PeerID

from app.protocol import Waiting
from app.trainer.peer import others
from tests.support.processes.sessions import OTHER_ID, PEER_ID

A, B = "/ip4/10.0.0.1/tcp/8080/p2p/QmA", "/ip4/10.0.0.2/tcp/8080/p2p/QmB"
ONE_DOOR = Waiting(whom="doors", seen=1, known=2)
NO_TRAINER = Waiting(whom="trainers", seen=0, known=1)


# --- how long ------------------------------------------------------------------------------------


class Looks:
    """Stands for the DHT process: who is missing at each look, the last one for ever."""

    def __init__(self, *missing: Waiting | Exception | None) -> None:
        self.missing = missing
        self.count = 0

    def run_coroutine(self, _look: Any, *, return_future: bool) -> "Future[Waiting | None]":
        assert return_future
        self.count += 1
        found = self.missing[min(self.count, len(self.missing)) - 1]
        answer: Future[Waiting | None] = Future()
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes by being slept."""
    now = [0.0]
    monkeypatch.setattr(others.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(others.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def waited(looks: Looks, *doors: str) -> list[Waiting]:
    said: list[Waiting] = []
    others.see_others(looks, doors=doors, run_id="run", report=said.append)  # type: ignore[arg-type]
    return said


def test_who_sees_all_waits_for_nobody(clock: None) -> None:
    looks = Looks(None)
    assert waited(looks, A, B) == []
    assert looks.count == 1


def test_it_says_for_whom_it_waits_whenever_that_changes(clock: None) -> None:
    looks = Looks(ONE_DOOR, ONE_DOOR, NO_TRAINER, None)
    assert waited(looks, A, B) == [ONE_DOOR, NO_TRAINER]
    assert looks.count == 4


def test_a_door_that_is_off_for_good_stops_nobody(
    clock: None, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks(ONE_DOOR)
    waited(looks, A, B)
    assert looks.count == pytest.approx(others.PATIENCE_SECONDS / others.LOOK_SECONDS, abs=3)
    assert "we train all the same" in caplog.text


def test_a_lost_reply_is_asked_for_again(clock: None) -> None:
    assert waited(Looks(TimeoutError(), None), A) == [Waiting(whom="doors", seen=0, known=1)]


def test_without_doors_a_lost_reply_holds_nobody_up(clock: None) -> None:
    assert waited(Looks(TimeoutError())) == []


# --- for whom ------------------------------------------------------------------------------------


class Network:
    """Stands for a node of the DHT, and for the peers that answer it."""

    def __init__(self, *, answering: Iterable[str], trainers: Mapping[str, bool]) -> None:
        self.peer_id = PeerID.from_base58(PEER_ID)
        self.answering = frozenset(answering)
        self.record = {
            number: SimpleNamespace(
                value={"peer_id": PeerID.from_base58(peer).to_bytes(), "client_mode": client}
            )
            for number, (peer, client) in enumerate(trainers.items())
        }

    async def get(self, key: str, *, latest: bool) -> Any:
        assert (key, latest) == ("run_progress", True)
        return SimpleNamespace(value=self.record) if self.record else None

    async def meet(self, _node: Any, peers: Mapping[str, Iterable[str]]) -> frozenset[str]:
        return self.answering & peers.keys()


@pytest.mark.parametrize(
    ("answering", "trainers", "missing"),
    [
        ("", {}, Waiting(whom="doors", seen=0, known=2)),
        ("QmA", {OTHER_ID: False}, ONE_DOOR),
        ("QmA QmB", {}, None),
        ("QmA QmB", {OTHER_ID: False}, NO_TRAINER),
        (f"QmA QmB {OTHER_ID}", {OTHER_ID: False}, None),
        ("QmA QmB", {OTHER_ID: True}, None),  # a client can't be called on
        ("QmA QmB", {PEER_ID: False}, None),  # our own record, of before a restart
    ],
)
async def test_all_doors_and_any_trainer_must_answer(
    answering: str,
    trainers: dict[str, bool],
    missing: Waiting | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(answering=answering.split(), trainers=trainers)
    monkeypatch.setattr(others.meeting, "meet", network.meet)
    doors = {"QmA": [A], "QmB": [B]}
    assert await others._look(None, network, doors=doors, run_id="run") == missing
