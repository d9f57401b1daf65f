"""The machine records of a run in the DHT, read and written by way of one of its nodes.

The records lie in shards, each a dictionary under one key of the DHT. hivemind's own `store` and
`get` download a whole dictionary from every node on their way and check it on the loop; with a
thousand machines that would be megabytes for each record. So we look up the nodes that hold a
shard, by a neighbouring key under which nothing lies, and ask them directly in hivemind's own
protocol: plain Hivemind nodes hold our records as well. A thread unpacks and checks the answers.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from app.common.background import end
from app.p2p import calls
from app.p2p import machine_records as records
from app.p2p.calls import CALL_SECONDS, CallError
from app.p2p.machine_records import BoardEntry, Inspection, Inspector

log = logging.getLogger(__name__)

HOLDERS_SECONDS = 120.0
"""How long a lookup of a shard's holders is used: nodes come and go."""

WORK_SECONDS = 0.0005
PAUSE_SECONDS = 0.001
"""A thread that checks records works and pauses in turn (see `_gently`)."""

SHARDS_A_CALL = 4
MAX_ENTRIES = 1000
"""How many entries of one shard we accept from a node: any node may send anything."""


class Board:
    """The shards of a run's machine records. What asks the swarm raises `CallError`."""

    def __init__(self, node: Any, run_id: str) -> None:
        from hivemind.dht.routing import DHTID

        self.node = node
        self.run_id = run_id
        keys = (records.shard_key(run_id, shard) for shard in range(records.SHARDS))
        self._keys = [DHTID.generate(key) for key in keys]
        self._holders: dict[Any, list[Any]] = {}
        self._looked_up = 0.0
        self._turn = 0

    # --- the holders of a shard

    async def _holders_of(self, keys: Iterable[Any]) -> dict[Any, list[Any]]:
        """The peers that hold each shard, the nearest first; our own peer may be among them."""
        if time.monotonic() - self._looked_up > HOLDERS_SECONDS:
            self._holders.clear()
            self._looked_up = time.monotonic()
        missing = {_neighbour(key): key for key in keys if key not in self._holders}
        if missing:
            protocol = self.node.protocol
            found = await self.node.find_nearest_nodes(
                list(missing),
                k_nearest=protocol.num_replicas,
                exclude_self=protocol.client_mode,
            )
            self._holders |= {missing[near]: list(who.values()) for near, who in found.items()}
        return {key: self._holders[key] for key in keys}

    # --- publish

    async def publish(self, public_key: str, sealed: bytes, expiration: float) -> int:
        """Store a record with the holders of its shard; returns how many have accepted it.

        expiration: seconds since the epoch.
        """
        key = self._keys[records.shard_of(public_key)]
        async with calls.within(CALL_SECONDS):
            holders = (await self._holders_of([key]))[key]
            value = self.node.protocol.serializer.dumps(sealed)
            stores = [self._store(peer, key, public_key, value, expiration) for peer in holders]
            taken = await asyncio.gather(*stores)
        if not all(taken):
            self._holders.pop(key, None)  # some may be gone: look them up again
        return sum(taken)

    async def _store(
        self, peer: Any, key: Any, public_key: str, value: bytes, expiration: float
    ) -> bool:
        protocol = self.node.protocol
        if peer == self.node.peer_id:
            return bool(protocol.storage.store_subkey(key, public_key, value, expiration))
        stored = await protocol.call_store(peer, [key], [value], [expiration], [public_key])
        return bool(stored and stored[0])

    # --- read

    async def read(
        self, inspector: Inspector, take: Callable[[Inspection], None], *, replicas: int = 1
    ) -> None:
        """Read all shards.

        take: called with the findings of each answer. replicas: how many holders of a shard are
        asked; each reading asks other ones.
        """
        async with calls.within(CALL_SECONDS):
            holders = await self._holders_of(self._keys)
        self._turn += 1
        questions = self._questions(holders, replicas)
        tasks = [asyncio.create_task(self._read_from(peer, keys)) for peer, keys in questions]
        try:
            take(await asyncio.to_thread(_inspect, inspector, self._own()))
            for reading in asyncio.as_completed(tasks):
                take(await asyncio.to_thread(_inspect, inspector, await reading))
        finally:
            await end(*tasks)

    def _questions(
        self, holders: dict[Any, list[Any]], replicas: int
    ) -> list[tuple[Any, list[Any]]]:
        """Each peer to ask, with the keys to ask it for: few calls, each with a short answer."""
        wanted: dict[Any, list[Any]] = {}
        for key, peers in holders.items():
            others = [peer for peer in peers if peer != self.node.peer_id]
            for step in range(min(replicas, len(others))):
                peer = others[(self._turn - 1 + step) % len(others)]
                wanted.setdefault(peer, []).append(key)
        return [
            (peer, keys[start : start + SHARDS_A_CALL])
            for peer, keys in wanted.items()
            for start in range(0, len(keys), SHARDS_A_CALL)
        ]

    async def _read_from(self, peer: Any, keys: list[Any]) -> "list[bytes]":
        """Packed dictionaries from a peer; none when it doesn't answer."""
        from hivemind.proto import dht_pb2

        wire: Any = dht_pb2  # its names are made at run time
        protocol = self.node.protocol
        names = [key.to_bytes() for key in keys]
        request = wire.FindRequest(keys=names, peer=protocol.node_info)
        try:
            async with calls.within(CALL_SECONDS, peer_id=str(peer)):
                response = await protocol.get_stub(peer).rpc_find(request)
        except CallError as error:
            log.debug("no machine records: %s", error)
            self._looked_up = 0.0
            return []
        kind = wire.FOUND_DICTIONARY
        return [result.value for result in response.results if result.type == kind]

    def _own(self) -> "list[bytes]":
        """Packed dictionaries that other machines have stored with our own node."""
        protocol = self.node.protocol
        held = [protocol.storage.get(key) for key in self._keys]
        found = [item.value for item in held if item and not isinstance(item.value, bytes)]
        return [protocol.serializer.dumps(value) for value in found]


def _neighbour(key: Any) -> Any:
    """A key with the same nearest nodes, under which nothing lies."""
    return type(key)(int(key) ^ 1)


def _inspect(inspector: Inspector, packed: "list[bytes]") -> Inspection:
    """Unpack and check records. Runs in a thread."""
    entries = (entry for one in packed for entry in _unpack(one))
    return inspector.inspect(_gently(entries), time.time())


def _gently(entries: Iterable[BoardEntry]) -> Iterator[BoardEntry]:
    """Yield the entries with pauses. A thread that computes gives up Python's lock only every
    5 ms, while the window needs the lock a thousand times to paint a table."""
    begun = time.perf_counter()
    for entry in entries:
        if time.perf_counter() - begun > WORK_SECONDS:
            time.sleep(PAUSE_SECONDS)
            begun = time.perf_counter()
        yield entry


def _unpack(packed: bytes) -> list[BoardEntry]:
    """The well-formed entries of a shard; malformed ones are skipped."""
    from hivemind.dht.storage import DictionaryDHTValue

    dictionary = calls.unpacked(packed)
    if not isinstance(dictionary, DictionaryDHTValue):
        return []
    entries: list[Any] = list(dictionary.items())[:MAX_ENTRIES]
    return [
        (public_key, _payload(value), float(expiration))
        for public_key, (value, expiration) in entries
        if isinstance(public_key, str) and isinstance(value, bytes)
    ]


def _payload(value: bytes) -> bytes:
    """The sealed record in an entry; b"", which is no sound record, when there is none."""
    sealed = calls.unpacked(value)
    return sealed if isinstance(sealed, bytes) else b""
