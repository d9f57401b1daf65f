"""Bounds on what anybody may store in the DHT under a run's keys.

Anybody who knows one address and the run id can store records, and hivemind believes them: the
highest epoch wins, and a record may live for years. Every node of ours, doors included, checks
each record here before it is stored, passed on or read. A record out of bounds is dropped alone;
hivemind would drop the whole dictionary that it is part of, with everybody else's records.

A plain `hivemind.Optimizer` that behaves stays within all of these bounds. It signs its progress
with a key that isn't its peer's, so a record under a foreign key is believed as long as no
record under the peer's own key contradicts it (see `unforged`).

Imports hivemind: import this module late and off the loop's thread.
"""

import asyncio
import functools
import hashlib
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.p2p import P2P
from hivemind.proto.crypto_pb2 import RSA, PublicKey  # type: ignore[attr-defined]
from hivemind.proto.dht_pb2 import StoreRequest, StoreResponse  # type: ignore[attr-defined]
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import get_dht_time
from typing_extensions import override

from app.common.rate_limit import RateLimit
from app.p2p import calls
from app.p2p.plausible import RunTimes

PEER_ID_BYTES = 64
"""The longest peer id: 34 bytes for a hash of a key, 38 for an Ed25519 key itself."""

OWNER_BYTES = 1024
"""The longest public key in a subkey; RSA-4096 takes 730."""

MOST_ENTRIES = 4096
"""Records under one key. hivemind asks for all of a key's records at once."""

MOST_UNREAD_ENTRIES = 16
"""Records under a key that is no run's, in an answer: a node may answer anything to anything."""

FUTURE_SECONDS = 10.0
"""How far ahead of ours a clock may be; hivemind itself refuses peers beyond 3 s."""

UNKNOWN_LIFE_SECONDS = 86_400.0
UNKNOWN_BYTES = 4096
"""For keys that aren't this run's: nobody here reads them, but they take memory."""

MOST_SAMPLES = 2**53
MOST_EPOCHS = 2**40
MOST_SAMPLES_PER_SECOND = 1e9

RECORDS_PER_SECOND = 50.0
RECORDS_AT_ONCE = 2000
"""How many records one peer may store with us. Replication of a large swarm's records to a new
node comes in one burst; a trainer itself stores about two records a second."""


@dataclass(frozen=True, kw_only=True)
class KeyBounds:
    """What is plausible under one key of the DHT."""

    longest_life: float
    """Seconds from now until the record expires."""

    largest_value: int
    """Bytes, with the signature."""

    is_subkey: Callable[[Any], bool]
    """Whether an unpacked subkey is of the right kind and size."""

    is_value: Callable[[Any], bool]
    """Whether an unpacked value, without its signature, is plausible."""


def is_peer_id(subkey: Any) -> bool:
    """Bytes no longer than a peer id."""
    return isinstance(subkey, bytes) and 0 < len(subkey) <= PEER_ID_BYTES


def is_owner(subkey: Any) -> bool:
    """A public key as hivemind marks the owner of a signed record."""
    return (
        isinstance(subkey, bytes)
        and len(subkey) <= OWNER_BYTES
        and subkey.startswith(b"[owner:")
        and subkey.endswith(b"]")
    )


def is_count(value: Any, most: int) -> bool:
    """A whole number from 0 to ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def is_amount(value: Any, most: float) -> bool:
    """A finite number from 0 to ``most``."""
    return isinstance(value, float) and 0.0 <= value <= most  # false for NaN as well


def is_progress(value: Any) -> bool:
    """None (the peer leaves), or a plausible `hivemind.optim` progress record."""
    return value is None or (
        isinstance(value, dict)
        and is_peer_id(value.get("peer_id"))
        and is_count(value.get("epoch"), MOST_EPOCHS)
        and is_count(value.get("samples_accumulated"), MOST_SAMPLES)
        and is_amount(value.get("samples_per_second"), MOST_SAMPLES_PER_SECOND)
        and is_amount(value.get("time"), get_dht_time() + FUTURE_SECONDS)
    )


def is_metrics(value: Any) -> bool:
    """A plausible metrics record."""
    return (
        isinstance(value, dict)
        and is_count(value.get("step"), MOST_EPOCHS)
        and is_amount(value.get("samples_per_second"), MOST_SAMPLES_PER_SECOND)
        and is_count(value.get("samples_accumulated"), MOST_SAMPLES)
        and is_count(value.get("mini_steps"), MOST_SAMPLES)
        and isinstance(value.get("loss"), float)
        and math.isfinite(value["loss"])
    )


def is_priority(value: Any) -> bool:
    """None (offers the state no more), or the epoch of the state that is offered."""
    return value is None or is_count(value, MOST_EPOCHS) or is_amount(value, MOST_EPOCHS)


def is_flag(value: Any) -> bool:
    """Whether the peer still looks for a group."""
    return isinstance(value, bool)


def _signed(life: float, is_value: Callable[[Any], bool]) -> KeyBounds:
    """Records that their owners sign."""
    return KeyBounds(longest_life=life, largest_value=2048, is_subkey=is_owner, is_value=is_value)


def _unsigned(life: float, is_value: Callable[[Any], bool]) -> KeyBounds:
    """Small records under a peer id, which hivemind lets anybody write."""
    return KeyBounds(longest_life=life, largest_value=64, is_subkey=is_peer_id, is_value=is_value)


_run_keys: set[bytes] = set()
"""The keys of this process's runs."""


def bounds_of(run_id: str, times: RunTimes) -> dict[bytes, KeyBounds]:
    """The bounds of each key that hivemind or we read in a run, by the key's id."""
    progress_life = 3 * max(times.record_seconds, RunTimes.record_seconds)
    group_life = 3 * max(times.matchmaking_seconds, 60.0)
    keys = {
        f"{run_id}_progress": _signed(progress_life, is_progress),
        f"{run_id}_metrics": _signed(3 * times.metrics_seconds, is_metrics),
    }
    for averager in ("grad_averager", "state_averager"):
        donors = _unsigned(3 * times.donor_seconds, is_priority)
        keys[f"{run_id}_{averager}.all_averagers"] = donors
        keys[f"{run_id}_{averager}.0b"] = _unsigned(group_life, is_flag)
    found = {DHTID.generate(key).to_bytes(): bounds for key, bounds in keys.items()}
    _run_keys.update(found)
    return found


def guards(run_id: str, times: RunTimes) -> list[RecordValidatorBase]:
    """The validators that keep records of a run within their bounds."""
    bounds = bounds_of(run_id, times)
    return [EnvelopeGuard(bounds), ContentGuard(bounds)]


class EnvelopeGuard(RecordValidatorBase):
    """Checks size, life and owner of a record, before anything expensive is done with it."""

    def __init__(self, bounds: dict[bytes, KeyBounds]) -> None:
        self._bounds = bounds

    @override
    def validate(self, record: DHTRecord) -> bool:
        bounds = self._bounds.get(record.key)
        life = UNKNOWN_LIFE_SECONDS if bounds is None else bounds.longest_life
        size = UNKNOWN_BYTES if bounds is None else bounds.largest_value
        if not record.expiration_time <= get_dht_time() + life:  # true for NaN as well
            return False
        if len(record.value) > size or len(record.subkey) > OWNER_BYTES + 16:
            return False
        return bounds is None or bounds.is_subkey(_unpacked(record.subkey))

    @property
    @override
    def priority(self) -> int:
        return 30  # the highest is asked first


class ContentGuard(RecordValidatorBase):
    """Checks that what a record says is plausible, once its signature was checked and cut off."""

    def __init__(self, bounds: dict[bytes, KeyBounds]) -> None:
        self._bounds = bounds

    @override
    def validate(self, record: DHTRecord) -> bool:
        bounds = self._bounds.get(record.key)
        return bounds is None or bounds.is_value(_unpacked(record.value))

    @property
    @override
    def priority(self) -> int:
        return 5  # after the signature's, before the schema's


class _Garbage:
    """What bytes are that can't be unpacked: of no type that is plausible anywhere."""


def _unpacked(raw: bytes) -> Any:
    return calls.unpacked(raw, malformed=_Garbage())


@lru_cache(maxsize=4096)
def owner_peer_id(subkey: bytes) -> bytes | None:
    """The peer id that belongs to the RSA key in a subkey; None where it holds none."""
    try:
        key = load_ssh_public_key(subkey.removeprefix(b"[owner:").removesuffix(b"]"))
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, RSAPublicKey):
        return None
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key_message = PublicKey(key_type=RSA, data=der).SerializeToString()
    return b"\x12\x20" + hashlib.sha256(key_message).digest()


def unforged(entries: Iterable[tuple[bytes, Any]]) -> list[Any]:
    """Of progress records with their subkeys, those that may be told by the peers they name.

    One record a peer: the one under the peer's own key, else the first one under another key
    (plain hivemind signs with a key of its own). Somebody who isn't the peer can't displace or
    double what a peer of ours says of itself.
    """
    own: dict[bytes, Any] = {}
    foreign: dict[bytes, Any] = {}
    for subkey, value in entries:
        kind = own if owner_peer_id(subkey) == value["peer_id"] else foreign
        kind.setdefault(value["peer_id"], value)
    return list({**foreign, **own}.values())


_budget = RateLimit(rate=RECORDS_PER_SECOND, burst=RECORDS_AT_ONCE)


def guard_storage() -> None:
    """From now on, nodes of this process and of its forks drop bad records one by one, take no
    more records from a peer than its budget allows, and check few of them at a time.

    WORKAROUND (hivemind 1.1.12): one bad record makes a node reject a key's whole dictionary,
    so whoever gets it into a plain node's storage blinds all others to the run.
    """
    store = DHTProtocol.rpc_store
    if hasattr(store, "__wrapped__"):
        return

    @functools.wraps(store)
    async def rpc_store(self: DHTProtocol, request: Any, context: Any) -> Any:
        caller = str(context.remote_id)
        stored = [True] * len(request.keys)
        async for places, part in slices(request):
            reply = None
            if places and all(_budget.take(caller) == 0.0 for _ in places):
                reply = await store(self, part, context)
            for number, place in enumerate(places):
                stored[place] &= reply is not None and reply.store_ok[number]
            await asyncio.sleep(0)  # our loop may have a window to paint
        return StoreResponse(store_ok=stored, peer=self.node_info)

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
    setattr(DHTLocalStorage, keep.__name__, store_subkey)
    setattr(DHTProtocol, DHTProtocol._validate_dictionary.__name__, keep_valid_entries)  # noqa: SLF001


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
    dictionary = _unpacked(packed)
    if not isinstance(dictionary, DictionaryDHTValue):
        return [(GARBAGE, GARBAGE, math.nan)]
    with dictionary.freeze():
        return [
            (DHTProtocol.serializer.dumps(subkey), item.value, item.expiration_time)
            for subkey, item in list(dictionary.items())[:MOST_ENTRIES]
        ]


GARBAGE = b"\xc1"
"""A byte that msgpack never uses."""

DEEPEST_NESTING = 8
"""Tuples within tuples in a message; hivemind's own have three levels at most."""

_depth = threading.local()


def bound_nesting() -> None:
    """From now on, hivemind unpacks no message that is nested deeper than `DEEPEST_NESTING`.

    WORKAROUND (hivemind 1.1.12): it unpacks tuples by recursion through C code. 200 levels, which
    take a kilobyte, overflow the stack, and the process is gone without an exception.
    """
    decode = MSGPackSerializer._decode_ext_types  # noqa: SLF001
    if hasattr(decode, "__wrapped__"):
        return

    @functools.wraps(decode)
    def decode_bounded(cls: type[MSGPackSerializer], type_code: int, data: bytes) -> Any:
        depth = getattr(_depth, "value", 0)
        if depth >= DEEPEST_NESTING:
            raise ValueError("a message is nested too deep")
        _depth.value = depth + 1
        try:
            return decode(type_code, data)
        finally:
            _depth.value = depth

    setattr(MSGPackSerializer, decode.__name__, classmethod(decode_bounded))


MOST_MESSAGE = 16 * 1024 * 1024
"""Bytes of a message in a stream; hivemind's largest carries half a megabyte of tensors."""


def bound_messages() -> None:
    """From now on, hivemind reads no message that is longer than `MOST_MESSAGE`.

    WORKAROUND (hivemind 1.1.12): a peer says in 8 bytes how long its message is, and hivemind
    gathers as much as it sends, in the memory of whoever it talks to.
    """
    receive = P2P.receive_raw_data
    if hasattr(receive, "__wrapped__"):
        return

    @functools.wraps(receive)
    async def receive_bounded(reader: asyncio.StreamReader) -> bytes:
        length = int.from_bytes(await reader.readexactly(P2P.HEADER_LEN), "big")
        if length > MOST_MESSAGE:
            raise ValueError("a message is too long")
        return await reader.readexactly(length)

    setattr(P2P, receive.__name__, staticmethod(receive_bounded))


def keep_valid_entries(protocol: DHTProtocol, key: bytes, dictionary: DictionaryDHTValue) -> bool:
    """Take bad records out of a dictionary that a peer sent; what is left is valid."""
    kept, most = 0, MOST_ENTRIES if key in _run_keys else MOST_UNREAD_ENTRIES
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
