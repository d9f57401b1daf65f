"""The records of a run in the DHT, read and written by way of one of its nodes.

Each kind of record lies in a dictionary under one key of the DHT, machine records in several.
hivemind's own `store` and `get` download a whole dictionary from every node on their way and check
it on the loop; with a thousand machines that would be megabytes for each record, and whoever
stores thousands of them would stop the window. So we look up the nodes that hold a key, by a
neighbouring key under which nothing lies, and ask them directly in hivemind's own protocol: plain
Hivemind nodes hold our records as well. A thread unpacks and checks the answers.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from app.common.background import end
from app.p2p import calls
from app.p2p import machine_records as records
from app.p2p.calls import CALL_SECONDS, CallError
from app.p2p.machine_records import Inspection, Inspector

log = logging.getLogger(__name__)

T = TypeVar("T")

HOLDERS_SECONDS = 120.0
"""How long a lookup of a shard's holders is used: nodes come and go."""

WORK_SECONDS = 0.0005
PAUSE_SECONDS = 0.001
"""A thread that checks records works and pauses in turn (see `_gently`)."""

SHARDS_A_CALL = 4
MAX_ENTRIES = 1000
"""How many entries of one shard we accept from a node: any node may send anything."""

MOST_TRAINERS = 4096
"""How many trainers of a run we believe in."""

RUN_REPLICAS = 3
"""How many holders of the run's progress are asked: one alone may lie, or be new."""

Entry = tuple[Any, bytes, float]
"""A subkey, its packed value, and when it expires in seconds since the epoch."""


class Dictionaries:
    """Dictionaries under some keys of the DHT. What asks the swarm raises `CallError`."""

    def __init__(self, node: Any, keys: Iterable[str]) -> None:
        from hivemind.dht.routing import DHTID

        self.node = node
        self._keys = [DHTID.generate(key) for key in keys]
        self._holders: dict[Any, list[Any]] = {}
        self._looked_up = 0.0
        self._turn = 0

    async def _answers(self, replicas: int) -> "list[asyncio.Task[dict[Any, bytes]]]":
        """Ask holders of all keys, each time other ones."""
        async with calls.within(CALL_SECONDS):
            holders = await self._holders_of(self._keys)
        self._turn += 1
        questions = self._questions(holders, replicas)
        return [asyncio.create_task(self._read_from(peer, keys)) for peer, keys in questions]

    async def _holders_of(self, keys: Iterable[Any]) -> dict[Any, list[Any]]:
        """The peers that hold each key, the nearest first; our own peer may be among them."""
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

    async def _read_from(self, peer: Any, keys: Sequence[Any]) -> "dict[Any, bytes]":
        """Packed dictionaries from a peer, by key; none when it doesn't answer."""
        from hivemind.proto import dht_pb2

        wire: Any = dht_pb2  # its names are made at run time
        protocol = self.node.protocol
        names = [key.to_bytes() for key in keys]
        request = wire.FindRequest(keys=names, peer=protocol.node_info)
        try:
            async with calls.within(CALL_SECONDS, peer_id=str(peer)):
                response = await protocol.get_stub(peer).rpc_find(request)
        except CallError as error:
            log.debug("no records: %s", error)
            self._looked_up = 0.0
            return {}
        kind = wire.FOUND_DICTIONARY
        answers = zip(keys, response.results, strict=False)
        return {key: result.value for key, result in answers if result.type == kind}

    def _own(self, key: Any) -> list[Entry]:
        """The entries that others have stored with our own node."""
        held = self.node.protocol.storage.get(key)
        if held is None or isinstance(held.value, bytes):
            return []
        return [(subkey, *item) for subkey, item in held.value.items()]


class Board(Dictionaries):
    """The shards of a run's machine records. What asks the swarm raises `CallError`."""

    def __init__(self, node: Any, run_id: str) -> None:
        super().__init__(
            node, (records.shard_key(run_id, shard) for shard in range(records.SHARDS))
        )
        self.run_id = run_id

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

    async def read(
        self,
        inspector: Inspector,
        take: Callable[[Inspection], Awaitable[None]],
        *,
        replicas: int = 1,
    ) -> None:
        """Read all shards.

        take: called with the findings of each answer. replicas: how many holders of a shard are
        asked; each reading asks other ones.
        """
        tasks = await self._answers(replicas)
        try:
            for key in self._keys:
                await take(await asyncio.to_thread(_inspect, inspector, self._own(key)))
            for reading in asyncio.as_completed(tasks):
                packed = (await reading).values()
                await take(await asyncio.to_thread(_inspect_packed, inspector, packed))
        finally:
            await end(*tasks)


class _Believed(NamedTuple):
    """An entry that was checked."""

    packed: bytes
    expiration: float
    value: Any


class RunBoard(Dictionaries):
    """The progress and the metrics of a run. What asks the swarm raises `CallError`."""

    def __init__(self, node: Any, keys: Sequence[str]) -> None:
        super().__init__(node, keys)
        self._believed: list[dict[Any, _Believed]] = [{} for _key in keys]

    async def read(self) -> list[dict[Any, Any]]:
        """For each key: the plausible values by subkey, as hivemind's, with their expiration."""
        tasks = await self._answers(RUN_REPLICAS)
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            await end(*tasks)
        return [
            await asyncio.to_thread(self._judge, place, key, self._own(key), answers)
            for place, key in enumerate(self._keys)
        ]

    def _judge(
        self, place: int, key: Any, own: list[Entry], answers: "Sequence[Mapping[Any, bytes]]"
    ) -> dict[Any, Any]:
        """Check what is new. Runs in a thread."""
        from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time

        newest: dict[Any, Entry] = {}
        packed = [answer[key] for answer in answers if key in answer]
        for entry in _gently(each for one in (own, *map(_unpack, packed)) for each in one):
            known = newest.get(entry[0])
            if known is None or known[2] < entry[2]:
                newest[entry[0]] = entry
        before, believed = self._believed[place], dict[Any, _Believed]()
        for subkey, value, expiration in _gently(newest.values()):
            found = before.get(subkey)
            if found is None or (found.packed, found.expiration) != (value, expiration):
                found = self._checked(key.to_bytes(), subkey, value, expiration)
            if found is not None and expiration > get_dht_time():
                believed[subkey] = found
            if len(believed) == MOST_TRAINERS:
                break
        self._believed[place] = believed
        return {
            subkey: ValueWithExpiration(found.value, found.expiration)
            for subkey, found in believed.items()
        }

    def _checked(
        self, key: bytes, subkey: Any, value: bytes, expiration: float
    ) -> "_Believed | None":
        """An entry with its value unpacked; None when our node's validators refuse it."""
        from hivemind.dht.validation import DHTRecord

        protocol = self.node.protocol
        record = DHTRecord(key, protocol.serializer.dumps(subkey), value, expiration)
        with contextlib.suppress(CallError), calls.hivemind_errors():
            if protocol.record_validator.validate(record):
                plain = protocol.record_validator.strip_value(record)
                return _Believed(value, expiration, calls.unpacked(plain))
        return None


def _neighbour(key: Any) -> Any:
    """A key with the same nearest nodes, under which nothing lies."""
    return type(key)(int(key) ^ 1)


def _inspect_packed(inspector: Inspector, packed: "Iterable[bytes]") -> Inspection:
    """Unpack and check machine records. Runs in a thread."""
    return _inspect(inspector, (entry for one in packed for entry in _unpack(one)[:MAX_ENTRIES]))


def _inspect(inspector: Inspector, entries: Iterable[Entry]) -> Inspection:
    """Check machine records. Runs in a thread."""
    sound = (
        (public_key, _payload(value), expiration)
        for public_key, value, expiration in entries
        if isinstance(public_key, str)
    )
    return inspector.inspect(_gently(sound), time.time())


def _gently(entries: Iterable[T]) -> Iterator[T]:
    """Yield the entries with pauses. A thread that computes gives up Python's lock only every
    5 ms, while the window needs the lock a thousand times to paint a table."""
    begun = time.perf_counter()
    for entry in entries:
        if time.perf_counter() - begun > WORK_SECONDS:
            time.sleep(PAUSE_SECONDS)
            begun = time.perf_counter()
        yield entry


def _unpack(packed: bytes) -> list[Entry]:
    """The well-formed entries of a dictionary; malformed ones are skipped."""
    from hivemind.dht.storage import DictionaryDHTValue

    dictionary = calls.unpacked(packed)
    if not isinstance(dictionary, DictionaryDHTValue):
        return []
    entries: list[Any] = list(dictionary.items())[:MOST_TRAINERS]
    return [
        (subkey, value, float(expiration))
        for subkey, (value, expiration) in entries
        if isinstance(subkey, str | bytes) and isinstance(value, bytes)
    ]


def _payload(value: bytes) -> bytes:
    """The sealed record in an entry; b"", which is no sound record, when there is none."""
    sealed = calls.unpacked(value)
    return sealed if isinstance(sealed, bytes) else b""
