"""What a node of ours lets into the DHT: what a plain peer that behaves writes, and no more."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.node import DHTNode
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import CompositeValidator, DHTRecord
from hivemind.p2p import P2P

from hivemind.proto.dht_pb2 import StoreRequest  # type: ignore[attr-defined]
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import get_dht_time

from app.p2p import record_guard, run_records
from app.p2p.plausible import RunTimes
from app.p2p.record_guard import owner_peer_id, unforged

RUN = "run"
TIMES = RunTimes(record_seconds=45.0)
PEER = b"\x12\x20" + bytes(32)
YEARS = 10 * 365 * 86_400.0
dumps = DHTProtocol.serializer.dumps


def guards() -> list[Any]:
    return record_guard.guards(RUN, TIMES)


def accepts(key: str, subkey: Any, value: Any, *, life: float = 45.0) -> bool:
    """Whether the guards let such a record pass."""
    record = DHTRecord(
        DHTID.generate(key).to_bytes(), dumps(subkey), dumps(value), get_dht_time() + life
    )
    return CompositeValidator(guards()).validate(record)


def owner(key: RSAPrivateKey | None = None) -> bytes:
    return RSASignatureValidator(key or RSAPrivateKey()).local_public_key


OWNER = owner()


def progress(**changes: Any) -> dict[str, Any]:
    plain = {
        "peer_id": PEER,
        "epoch": 7,
        "samples_accumulated": 100,
        "samples_per_second": 12.5,
        "time": get_dht_time(),
        "client_mode": False,
    }
    return plain | changes


METRICS = {
    "step": 7,
    "samples_per_second": 12.5,
    "samples_accumulated": 100,
    "loss": 3.5,
    "mini_steps": 4,
}


# --- plain peers that behave ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [progress(), progress(samples_per_second=0.0), None])
def test_progress_of_a_plain_peer_passes(value: Any) -> None:
    assert accepts("run_progress", OWNER, value, life=60.0)


def test_metrics_pass() -> None:
    assert accepts("run_metrics", OWNER, METRICS, life=60.0)


@pytest.mark.parametrize("averager", ["grad_averager", "state_averager"])
@pytest.mark.parametrize("value", [0, 7, 7.0, None])
def test_offer_of_the_state_passes(averager: str, value: Any) -> None:
    assert accepts(f"run_{averager}.all_averagers", PEER, value, life=30.0)


@pytest.mark.parametrize("value", [True, False])
def test_search_for_a_group_passes(value: bool) -> None:
    assert accepts("run_grad_averager.0b", PEER, value, life=30.0)


def test_keys_of_others_pass() -> None:
    assert accepts("another", "any", {"what": "ever"}, life=3600.0)


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [181.0, YEARS, math.inf, math.nan])
def test_record_that_outlives_its_peer_is_refused(life: float) -> None:
    assert not accepts("run_progress", OWNER, progress(), life=life)


@pytest.mark.parametrize(
    "changes",
    [
        {"peer_id": bytes(100_000)},
        {"peer_id": bytes(65)},
        {"peer_id": b""},
        {"peer_id": "QmText"},
        {"epoch": -1},
        {"epoch": 2**60},
        {"epoch": True},
        {"epoch": 1.0},
        {"samples_accumulated": -1},
        {"samples_accumulated": 2**60},
        {"samples_per_second": math.nan},
        {"samples_per_second": math.inf},
        {"samples_per_second": -1.0},
        {"samples_per_second": 1e30},
        {"time": math.nan},
        {"time": 1e30},
    ],
    ids=repr,
)
def test_implausible_progress_is_refused(changes: dict[str, Any]) -> None:
    assert not accepts("run_progress", OWNER, progress(**changes))


@pytest.mark.parametrize("value", [1, "text", [], {}, b"bytes"], ids=repr)
def test_progress_of_another_shape_is_refused(value: Any) -> None:
    assert not accepts("run_progress", OWNER, value)


@pytest.mark.parametrize("subkey", [None, b"", "me", b"me", b"[owner:" + bytes(2000) + b"]"])
def test_progress_without_an_owner_is_refused(subkey: Any) -> None:
    assert not accepts("run_progress", subkey, progress())


@pytest.mark.parametrize("loss", [math.nan, math.inf, "low", None])
def test_implausible_loss_is_refused(loss: Any) -> None:
    assert not accepts("run_metrics", OWNER, METRICS | {"loss": loss})


@pytest.mark.parametrize("value", [-1, 2**53 * 1e3, math.nan, math.inf, "first", True])
def test_implausible_offer_of_the_state_is_refused(value: Any) -> None:
    assert not accepts("run_state_averager.all_averagers", PEER, value)


@pytest.mark.parametrize(("subkey", "value"), [(bytes(100), True), (PEER, 1), (PEER, bytes(500))])
def test_implausible_search_for_a_group_is_refused(subkey: Any, value: Any) -> None:
    assert not accepts("run_grad_averager.0b", subkey, value)


def test_unknown_keys_are_bounded_too() -> None:
    assert not accepts("another", "any", bytes(100_000))
    assert not accepts("another", "any", 1, life=YEARS)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xc7\xff\x50", b"\xd8\x50" * 9])
def test_garbage_is_refused(raw: bytes) -> None:
    key = DHTID.generate("run_progress").to_bytes()
    record = DHTRecord(key, raw, raw, get_dht_time() + 1.0)
    assert not CompositeValidator(guards()).validate(record)


def nested(levels: int) -> bytes:
    """Tuples within tuples, as hivemind packs them."""
    packed = b"\x90"
    for _level in range(levels):
        packed = b"\x91\xc8" + len(packed).to_bytes(2, "big") + b"\x40" + packed
    return packed


@pytest.mark.parametrize("levels", [20, 200, 2000])
def test_deep_nesting_is_an_error_and_no_crash(levels: int) -> None:
    with pytest.raises(ValueError, match="too deep"):
        DHTProtocol.serializer.loads(nested(levels))


def test_what_hivemind_nests_is_unpacked() -> None:
    value = (1, (2, (3, [4, (5,)])))
    assert DHTProtocol.serializer.loads(dumps(value)) == value


# --- whose record it is --------------------------------------------------------------------------


def test_owner_of_a_record_is_the_peer_whose_key_it_is(tmp_path: Path) -> None:
    identity = run_records.load_identity(tmp_path / "peer.pem")
    assert owner_peer_id(owner(identity.key)) == identity.raw
    assert owner_peer_id(OWNER) != identity.raw
    assert owner_peer_id(b"[owner:ssh-rsa AAAA]") is None


def test_nobody_speaks_for_a_peer_that_speaks_itself(tmp_path: Path) -> None:
    identity = run_records.load_identity(tmp_path / "peer.pem")
    true = progress(peer_id=identity.raw)
    forged = progress(peer_id=identity.raw, epoch=10**6)
    mine = owner(identity.key)
    assert unforged([(OWNER, forged), (mine, true)]) == [true]
    assert unforged([(mine, true), (OWNER, forged)]) == [true]


def test_peer_with_many_keys_counts_once() -> None:
    entries = [(owner(), progress(epoch=number)) for number in (7, 10**6, 10**6)]
    assert unforged(entries) == [entries[0][1]]


# --- in real nodes -------------------------------------------------------------------------------


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[DHTNode, DHTNode]]:
    """A plain node that lets anything in, and a guarded one that knows it."""
    record_guard.guard_storage()
    plain = await DHTNode.create()
    ours = await DHTNode.create(
        initial_peers=await plain.get_visible_maddrs(),
        record_validator=CompositeValidator(guards()),
    )
    yield plain, ours
    await ours.shutdown()
    await plain.shutdown()


async def test_bad_record_does_not_hide_the_good_ones(nodes: tuple[DHTNode, DHTNode]) -> None:
    plain, ours = nodes
    good, bad = owner(), owner()
    later = get_dht_time() + 60.0
    await plain.store("run_progress", progress(), later, subkey=good)
    await plain.store("run_progress", progress(peer_id=bytes(100_000)), later, subkey=bad)
    found = await ours.get("run_progress", latest=True)
    assert found is not None
    assert set(found.value) == {good}
    assert found.value[good].value["epoch"] == 7


async def test_bad_record_is_not_stored(nodes: tuple[DHTNode, DHTNode]) -> None:
    plain, ours = nodes
    later = get_dht_time() + YEARS
    key = DHTID.generate("run_progress")
    await plain.protocol.call_store(
        ours.peer_id, [key], [dumps(progress(epoch=10**6))], later, subkeys=[OWNER]
    )
    assert ours.protocol.storage.get(key) is None


async def test_flood_from_one_peer_is_stopped(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ours = nodes
    monkeypatch.setattr(record_guard, "_budget", record_guard.RateLimit(rate=1e-6, burst=10))
    later = get_dht_time() + 60.0
    stored = [
        await plain.protocol.call_store(
            ours.peer_id, [DHTID.generate(f"flood {number}")], [dumps(number)], later
        )
        for number in range(12)
    ]
    assert stored == [[True]] * 10 + [[False]] * 2


async def test_a_message_longer_than_any_of_hivemind_is_not_gathered() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((record_guard.MOST_MESSAGE + 1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="too long"):
        await P2P.receive_raw_data(reader)
    reader.feed_data((3).to_bytes(8, "big") + b"abc")
    assert await P2P.receive_raw_data(reader) == b"abc"

def entries(count: int) -> DictionaryDHTValue:
    made = DictionaryDHTValue()
    for number in range(count):
        made.store(f"subkey {number}", dumps(number), get_dht_time() + 60.0)
    return made


async def test_dictionary_is_stored_in_slices_and_each_entry_counts(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ours = nodes
    monkeypatch.setattr(record_guard, "_budget", record_guard.RateLimit(rate=1e-6, burst=32))
    key, sent = DHTID.generate("flood"), entries(100)
    stored = await plain.protocol.call_store(
        ours.peer_id, [key], [sent], sent.latest_expiration_time
    )
    assert stored == [False]
    held = ours.protocol.storage.get(key)
    assert held is not None
    assert len(held.value) == 32


async def test_request_is_cut_into_slices() -> None:
    until = get_dht_time() + 60.0
    request = StoreRequest(
        keys=[b"one", b"many", b"garbage"],
        subkeys=[dumps("a"), DHTProtocol.IS_DICTIONARY, DHTProtocol.IS_DICTIONARY],
        values=[b"1", dumps(entries(40)), b"\xc1"],
        expiration_time=[until] * 3,
        in_cache=[False] * 3,
    )
    found = [(places, len(part.keys)) async for places, part in record_guard.slices(request)]
    assert [count for _, count in found] == [16, 16, 10]
    assert [place for places, _ in found for place in places] == [0, *[1] * 40, 2]


async def test_full_dictionary_takes_newer_records_and_no_new_ones(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours = nodes
    monkeypatch.setattr(record_guard, "MOST_ENTRIES", 2)
    storage, key = ours.protocol.storage, DHTID.generate("full")
    until = get_dht_time() + 60.0
    assert [storage.store_subkey(key, name, b"1", until) for name in "abc"] == [True, True, False]
    assert storage.store_subkey(key, "a", b"2", until + 1.0)


async def test_honest_request_is_stored_whole(nodes: tuple[DHTNode, DHTNode]) -> None:
    plain, ours = nodes
    keys = [DHTID.generate(f"key {number}") for number in range(50)]
    until = get_dht_time() + 60.0
    stored = await plain.protocol.call_store(
        ours.peer_id, keys, [dumps(number) for number in range(50)], until
    )
    assert stored == [True] * 50
    assert all(ours.protocol.storage.get(key) is not None for key in keys)
