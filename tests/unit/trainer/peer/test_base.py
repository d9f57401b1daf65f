"""Peers of a run tell each other which weights they began with, around a DHT that is a table."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hivemind.utils.timed_storage import get_dht_time

from app.common.errors import JoinError
from app.p2p import run_records
from app.trainer.peer.base import BaseRecord

OURS, OTHER = "a" * 64, "b" * 64


class Table:
    """As much of the DHT as a record needs."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[bytes, Any]] = {}
        self.lives: list[float] = []
        self.broken = False

    def store(self, key: str, *, subkey: bytes, value: Any, **options: Any) -> Future[Any]:
        self.entries.setdefault(key, {})[subkey] = SimpleNamespace(value=value)
        self.lives.append(options["expiration_time"] - get_dht_time())
        return _done(True)

    def get(self, key: str, **_options: Any) -> Future[Any]:
        future = _done(SimpleNamespace(value=self.entries[key]) if key in self.entries else None)
        if self.broken:
            future = Future()
            future.set_exception(TimeoutError())
        return future


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def record(table: Any, name: bytes, digest: str) -> BaseRecord:
    return BaseRecord(table, run_id="run", subkey=name, digest=digest)


def told(others: str) -> BaseRecord:
    """Ours, after others have told theirs: ``=`` for the same weights, ``x`` for others."""
    table = Table()
    for number, each in enumerate(others):
        record(table, b"%d" % number, OURS if each == "=" else OTHER).publish()
    ours = record(table, b"me", OURS)
    ours.publish(wait=True)
    return ours


@pytest.mark.parametrize("others", ["", "=", "=x", "==x", "x=x="])
def test_a_peer_whose_weights_most_have_may_train(others: str) -> None:
    told(others).check()


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ("x", "than 1 of 1 other machine does"),
        ("xx=", "than 2 of 3 other machines do"),
    ],
)
def test_a_peer_that_differs_is_told_so(others: str, words: str) -> None:
    with pytest.raises(JoinError, match=words) as caught:
        told(others).check()
    assert caught.value.field == "pretrained"
    assert "Join by a new invite" in caught.value.remedy


def test_our_own_entry_counts_for_nobody() -> None:
    table = Table()
    record(table, b"me", OTHER).publish()
    ours = record(table, b"me", OURS)
    ours.check()
    assert list(table.entries) == [run_records.base_key("run")]
    assert 0 < table.lives[0] <= run_records.METRICS_SECONDS


def test_a_dht_that_does_not_answer_stops_nobody() -> None:
    ours = told("x")
    ours._dht.broken = True  # type: ignore[attr-defined]
    ours.check()
