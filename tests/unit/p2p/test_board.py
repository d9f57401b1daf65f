"""A run's progress among real nodes: what is believed, and on which thread it is checked."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import CompositeValidator, DHTRecord
from hivemind.utils import MSGPackSerializer
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time

from app.p2p import board, run_records
from app.p2p.board import RunBoard
from tests.support.network.progress import progress

RUN = "run"
KEY = f"{RUN}_progress"
dumps = MSGPackSerializer.dumps


class Watching(CompositeValidator):
    """Counts what it checks on the thread of the loop, and elsewhere."""

    def __init__(self) -> None:
        super().__init__(run_records.validators(RUN, RSAPrivateKey()))
        self.on_loop = self.elsewhere = 0

    def validate(self, record: DHTRecord) -> bool:
        if threading.current_thread() is threading.main_thread():
            self.on_loop += 1
        else:
            self.elsewhere += 1
        return super().validate(record)


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[DHTNode, DHTNode, Watching]]:
    """A hostile node that holds what it likes, ours, and the validator of ours."""
    hostile = await DHTNode.create()
    watching = Watching()
    ours = await DHTNode.create(
        initial_peers=await hostile.get_visible_maddrs(), record_validator=watching
    )
    yield hostile, ours, watching
    await ours.shutdown()
    await hostile.shutdown()


def progress_of(number: int, **changes: Any) -> dict[str, Any]:
    return progress(**{"peer_id": number.to_bytes(34, "big")} | changes)


def hold(
    node: DHTNode, value: Any, *, life: float = 60.0, signed: bool = True, key: Any = None
) -> bytes:
    """Put a record into a node's own storage; returns its subkey."""
    validator = RSASignatureValidator(key or RSAPrivateKey())
    subkey, until = validator.local_public_key, get_dht_time() + life
    name = DHTID.generate(KEY)
    packed = dumps(value)
    if signed:
        record = DHTRecord(name.to_bytes(), dumps(subkey), packed, until)
        packed = validator.sign_value(record)
    node.protocol.storage.store_subkey(name, subkey, packed, until)
    return subkey


async def test_flood_is_checked_off_the_loop_and_once(
    nodes: tuple[DHTNode, DHTNode, Watching],
) -> None:
    hostile, ours, watching = nodes
    subkeys = {hold(hostile, progress_of(number)) for number in range(20)}
    reading = RunBoard(ours, [KEY])
    (found,) = await reading.read()
    assert set(found) == subkeys
    assert (watching.on_loop, watching.elsewhere) == (0, 20)
    (again,) = await reading.read()
    assert set(again) == subkeys
    assert (watching.on_loop, watching.elsewhere) == (0, 20)


async def test_forged_records_are_dropped_one_by_one(
    nodes: tuple[DHTNode, DHTNode, Watching],
) -> None:
    hostile, ours, _ = nodes
    good = hold(hostile, progress_of(1))
    hold(hostile, progress_of(2), signed=False)
    hold(hostile, progress_of(3, epoch=-1_000_000))
    hold(hostile, progress_of(4, samples_per_second=1e30))
    hold(hostile, progress_of(5, samples_accumulated=-5))
    hold(hostile, progress_of(6), life=3600.0)
    hold(hostile, progress_of(7, peer_id=bytes(100_000)))
    (found,) = await RunBoard(ours, [KEY]).read()
    assert set(found) == {good}
    assert found[good].value["samples_per_second"] == 12.5


async def test_epoch_of_one_liar_is_not_the_run_s(
    nodes: tuple[DHTNode, DHTNode, Watching],
) -> None:
    hostile, ours, _ = nodes
    for number in range(3):
        hold(hostile, progress_of(number))
    hold(hostile, progress_of(9, epoch=10**6, samples_per_second=1e9))
    (found,) = await RunBoard(ours, [KEY]).read()
    summary = run_records.summarize(found, None)
    assert summary is not None
    assert summary.epoch == 7
    assert summary.samples_per_second < 1000.0


async def test_loss_of_one_liar_is_not_the_run_s(nodes: tuple[DHTNode, DHTNode, Watching]) -> None:
    hostile, ours, _ = nodes
    for number in range(3):
        hold(hostile, progress_of(number))
    (found,) = await RunBoard(ours, [KEY]).read()
    later = get_dht_time() + 60.0

    def claimed(loss: float, steps: int) -> ValueWithExpiration[dict[str, float]]:
        return ValueWithExpiration({"loss": loss * steps, "mini_steps": steps}, later)

    metrics = {number: claimed(3.0, 4) for number in range(3)} | {9: claimed(1e4, 10**6)}
    summary = run_records.summarize(found, metrics)
    assert summary is not None
    assert summary.loss is not None
    assert summary.loss < 10.0


async def test_no_more_trainers_are_believed_than_a_run_may_have(
    nodes: tuple[DHTNode, DHTNode, Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "MOST_TRAINERS", 5)
    hostile, ours, watching = nodes
    for number in range(20):
        hold(hostile, progress_of(number))
    (found,) = await RunBoard(ours, [KEY]).read()
    assert len(found) == 5
    assert watching.elsewhere == 5


async def test_newest_of_two_answers_counts(nodes: tuple[DHTNode, DHTNode, Watching]) -> None:
    hostile, ours, _ = nodes
    key = RSAPrivateKey()
    subkey = hold(hostile, progress_of(1, epoch=7), key=key, life=50.0)
    hold(ours, progress_of(1, epoch=8), key=key, life=55.0)
    (found,) = await RunBoard(ours, [KEY]).read()
    assert found[subkey].value["epoch"] == 8
