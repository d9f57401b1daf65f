"""What a node of ours keeps of what others store, and tells them: bad records are dropped one by
one, floods cut.

hivemind answers a request to store or find records in one go, however many there are.
"""

import asyncio
import functools
import math
from collections.abc import AsyncIterator
from typing import Any

from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.proto.dht_pb2 import (  # type: ignore[attr-defined]
    FindRequest,
    FindResponse,
    StoreRequest,
    StoreResponse,
)

from app.common.rate_limit import RateLimit
from app.p2p import calls
from app.p2p.guards.records import MOST_ENTRIES, MOST_UNREAD_ENTRIES, RUN_KEYS

RECORDS_PER_SECOND = 50.0
RECORDS_AT_ONCE = 2000
"""How many records one peer may store with us. Replication of a large swarm's records to a new
node comes in one burst; a trainer itself stores about two records a second."""

_budget = RateLimit(rate=RECORDS_PER_SECOND, burst=RECORDS_AT_ONCE)

KEYS_A_CALL = 64
"""hivemind asks for 16 at most."""

FINDS_PER_SECOND = 100.0
FINDS_AT_ONCE = 1000
"""How many keys one peer may ask us for."""

_finds = RateLimit(rate=FINDS_PER_SECOND, burst=FINDS_AT_ONCE)


def _caller(node: DHTProtocol, context: Any) -> str:
    """Who pays: each of a process's nodes is asked by itself."""
    return f"{node.node_id} {context.remote_id}"


def guard_storage() -> None:
    """From now on, nodes of this process and of its forks drop bad records one by one, take no
    more records from a peer than its budget allows, nor more questions, and answer few at a time.

    WORKAROUND (hivemind 1.1.12): one bad record makes a node reject a key's whole dictionary,
    so whoever gets it into a plain node's storage blinds all others to the run.
    """
    store = DHTProtocol.rpc_store
    if hasattr(store, "__wrapped__"):
        return

    @functools.wraps(store)
    async def rpc_store(self: DHTProtocol, request: Any, context: Any) -> Any:
        caller = _caller(self, context)
        stored = [True] * len(request.keys)
        async for places, part in slices(request):
            reply = None
            if places and all(_budget.take(caller) == 0.0 for _ in places):
                reply = await store(self, part, context)
            for number, place in enumerate(places):
                stored[place] &= reply is not None and reply.store_ok[number]
            await asyncio.sleep(0)  # our loop may have a window to paint
        return StoreResponse(store_ok=stored, peer=self.node_info)

    find = DHTProtocol.rpc_find

    @functools.wraps(find)
    async def rpc_find(self: DHTProtocol, request: Any, context: Any) -> Any:
        caller, keys = _caller(self, context), request.keys
        found = FindResponse(results=[], peer=self.node_info)
        if len(keys) > KEYS_A_CALL or any(_finds.take(caller) for _ in keys):
            return found
        for begin in range(0, len(keys), KEYS_A_SLICE):
            part = FindRequest(keys=keys[begin : begin + KEYS_A_SLICE], peer=request.peer)
            found.results.extend((await find(self, part, context)).results)
            await asyncio.sleep(0)
        return found

    keep = DHTLocalStorage.store_subkey

    @functools.wraps(keep)
    def store_subkey(
        self: DHTLocalStorage, key: Any, subkey: Any, value: bytes, expiration_time: float
    ) -> bool:
        held = self.get(key)
        entries: Any = None if held is None else held.value
        is_full = isinstance(entries, DictionaryDHTValue) and len(entries) >= MOST_ENTRIES
        if is_full and entries.get(subkey) is None:
            return False
        return bool(keep(self, key, subkey, value, expiration_time))

    setattr(DHTProtocol, store.__name__, rpc_store)
    setattr(DHTProtocol, find.__name__, rpc_find)
    setattr(DHTLocalStorage, keep.__name__, store_subkey)
    setattr(DHTProtocol, DHTProtocol._validate_dictionary.__name__, keep_valid_entries)  # noqa: SLF001


KEYS_A_SLICE = 4
"""That are looked up before the loop goes on: a run's dictionary is packed for each."""

RECORDS_A_SLICE = 16
"""Records that are checked before the loop goes on: some 3 ms."""


async def slices(request: StoreRequest) -> AsyncIterator[tuple[list[int], StoreRequest]]:
    """A request to store records, in parts that hold few of them; dictionaries are taken apart.

    Yields the parts, each with the places of its records among those of the request. Something
    that is said to be a dictionary and is none becomes a record that no validator lets pass.
    """
    places: list[int] = []
    part = StoreRequest(peer=request.peer)
    fields = (request.keys, request.subkeys, request.values)
    for place, (key, subkey, value, expiration, in_cache) in enumerate(
        zip(*fields, request.expiration_time, request.in_cache, strict=True)
    ):
        entries = [(subkey, value, expiration)]
        if subkey == DHTProtocol.IS_DICTIONARY:
            entries = await asyncio.to_thread(_entries_of, value)
        for entry in entries:
            places.append(place)
            part.keys.append(key)
            part.subkeys.append(entry[0])
            part.values.append(entry[1])
            part.expiration_time.append(entry[2])
            part.in_cache.append(in_cache)
            if len(places) == RECORDS_A_SLICE:
                yield places, part
                places, part = [], StoreRequest()
    yield places, part


def _entries_of(packed: bytes) -> list[tuple[bytes, bytes, float]]:
    """The packed subkeys, values and expirations of a dictionary; runs in a thread."""
    dictionary = calls.unpacked(packed)
    if not isinstance(dictionary, DictionaryDHTValue):
        return [(GARBAGE, GARBAGE, math.nan)]
    with dictionary.freeze():
        return [
            (DHTProtocol.serializer.dumps(subkey), item.value, item.expiration_time)
            for subkey, item in list(dictionary.items())[:MOST_ENTRIES]
        ]


GARBAGE = b"\xc1"
"""A byte that msgpack never uses."""


def keep_valid_entries(protocol: DHTProtocol, key: bytes, dictionary: DictionaryDHTValue) -> bool:
    """Take bad records out of a dictionary that a peer sent; what is left is valid."""
    kept, most = 0, MOST_ENTRIES if key in RUN_KEYS else MOST_UNREAD_ENTRIES
    with dictionary.freeze():
        for subkey, item in list(dictionary.items()):
            is_valid = kept < most and protocol._validate_record(  # noqa: SLF001
                key, DHTProtocol.serializer.dumps(subkey), item.value, item.expiration_time
            )
            kept += is_valid
            if not is_valid:
                dictionary.data.pop(subkey, None)
                dictionary.key_to_heap.pop(subkey, None)
    return True
