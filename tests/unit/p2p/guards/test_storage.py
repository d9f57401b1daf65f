"""What real nodes keep of what others send."""

from collections.abc import AsyncIterator

import pytest
from hivemind.dht.node import DHTNode
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import CompositeValidator
from hivemind.proto.dht_pb2 import FindRequest, StoreRequest  # type: ignore[attr-defined]
from hivemind.utils.timed_storage import get_dht_time

from app.p2p.guards import storage
from app.p2p.guards.records import guards
from app.p2p.plausible import RunTimes
from tests.support.network.progress import OWNER, YEARS, owner, progress

dumps = DHTProtocol.serializer.dumps


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[DHTNode, DHTNode]]:
    """A plain node that lets anything in, and a guarded one that knows it."""
    storage.guard_storage()
    plain = await DHTNode.create()
    ours = await DHTNode.create(
        initial_peers=await plain.get_visible_maddrs(),
        record_validator=CompositeValidator(guards("run", RunTimes(record_seconds=45.0))),
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
    monkeypatch.setattr(storage, "_budget", storage.RateLimit(rate=1e-6, burst=10))
    later = get_dht_time() + 60.0
    stored = [
        await plain.protocol.call_store(
            ours.peer_id, [DHTID.generate(f"flood {number}")], [dumps(number)], later
        )
        for number in range(12)
    ]
    assert stored == [[True]] * 10 + [[False]] * 2


async def test_a_peer_finds_what_it_asks_for_however_many_keys_hivemind_asks_at_once(
    nodes: tuple[DHTNode, DHTNode],
) -> None:
    plain, ours = nodes
    later = get_dht_time() + 60.0
    keys = [DHTID.generate(f"key {number}") for number in range(16)]
    for key in keys:
        ours.protocol.storage.store(key, dumps(1), later)
    found = await plain.protocol.call_find(ours.peer_id, keys)
    assert found is not None
    assert [found[key][0].value for key in keys] == [dumps(1)] * 16
    assert all(ours.node_id not in found[key][1] for key in keys)


async def test_a_call_for_too_many_keys_costs_nothing(nodes: tuple[DHTNode, DHTNode]) -> None:
    plain, ours = nodes
    many = [DHTID.generate(f"key {number}") for number in range(storage.KEYS_A_CALL + 1)]
    request = FindRequest(keys=[key.to_bytes() for key in many], peer=plain.protocol.node_info)
    answer = await plain.protocol.get_stub(ours.peer_id).rpc_find(request)
    assert not answer.results


async def test_questions_of_one_peer_are_limited(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ours = nodes
    monkeypatch.setattr(storage, "_finds", storage.RateLimit(rate=1e-6, burst=10))
    key = DHTID.generate("key")
    found = [await plain.protocol.call_find(ours.peer_id, [key]) for _ in range(11)]
    assert [each is not None for each in found] == [True] * 10 + [False]


async def test_each_node_of_a_process_has_its_own_budget(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ours = nodes
    other = await DHTNode.create(initial_peers=await plain.get_visible_maddrs())
    monkeypatch.setattr(storage, "_finds", storage.RateLimit(rate=1e-6, burst=4))
    key = DHTID.generate("key")
    for _ in range(5):
        last = await plain.protocol.call_find(ours.peer_id, [key])
    assert last is None
    assert await plain.protocol.call_find(other.peer_id, [key]) is not None
    await other.shutdown()


def entries(count: int) -> DictionaryDHTValue:
    made = DictionaryDHTValue()
    for number in range(count):
        made.store(f"subkey {number}", dumps(number), get_dht_time() + 60.0)
    return made


async def test_dictionary_is_stored_in_slices_and_each_entry_counts(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ours = nodes
    monkeypatch.setattr(storage, "_budget", storage.RateLimit(rate=1e-6, burst=32))
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
    found = [(places, len(part.keys)) async for places, part in storage.slices(request)]
    assert [count for _, count in found] == [16, 16, 10]
    assert [place for places, _ in found for place in places] == [0, *[1] * 40, 2]


async def test_full_dictionary_takes_newer_records_and_no_new_ones(
    nodes: tuple[DHTNode, DHTNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours = nodes
    monkeypatch.setattr(storage, "MOST_ENTRIES", 2)
    held, key = ours.protocol.storage, DHTID.generate("full")
    until = get_dht_time() + 60.0
    assert [held.store_subkey(key, name, b"1", until) for name in "abc"] == [True, True, False]
    assert held.store_subkey(key, "a", b"2", until + 1.0)


async def test_honest_request_is_stored_whole(nodes: tuple[DHTNode, DHTNode]) -> None:
    plain, ours = nodes
    keys = [DHTID.generate(f"key {number}") for number in range(50)]
    until = get_dht_time() + 60.0
    stored = await plain.protocol.call_store(
        ours.peer_id, keys, [dumps(number) for number in range(50)], until
    )
    assert stored == [True] * 50
    assert all(ours.protocol.storage.get(key) is not None for key in keys)
