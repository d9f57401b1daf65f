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

import hashlib
import re
from collections.abc import Callable, Iterable
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
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.proto.crypto_pb2 import RSA, PublicKey  # type: ignore[attr-defined]
from hivemind.utils.timed_storage import get_dht_time
from typing_extensions import override

from app.organiser import roster as rosters
from app.organiser.admission import OPEN, Admission
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

ROSTER_SECONDS = 600.0
"""How long a roster stays in the DHT. Members store it again before."""

UNKNOWN_LIFE_SECONDS = 86_400.0
UNKNOWN_BYTES = 4096
"""For keys that aren't this run's: nobody here reads them, but they take memory."""

MOST_SAMPLES = 2**53
MOST_EPOCHS = 2**40
MOST_SAMPLES_PER_SECOND = 1e9
MOST_LOSS = 1e4


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
        and is_amount(value.get("loss"), MOST_LOSS * max(1, value["mini_steps"]))  # a sum
    )


def is_evaluation(value: Any) -> bool:
    """A plausible record of an evaluation."""
    return (
        isinstance(value, dict)
        and is_count(value.get("epoch"), MOST_EPOCHS)
        and is_count(value.get("tokens"), MOST_SAMPLES)
        and is_amount(value.get("loss"), MOST_LOSS)
        and is_amount(value.get("bits_per_byte"), MOST_LOSS)
    )


def is_digest(value: Any) -> bool:
    """A SHA-256 in hexadecimal."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


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


RUN_KEYS: set[bytes] = set()
"""The keys of this process's runs."""


def bounds_of(run_id: str, times: RunTimes) -> dict[bytes, KeyBounds]:
    """The bounds of each key that hivemind or we read in a run, by the key's id."""
    progress_life = 3 * max(times.record_seconds, RunTimes.record_seconds)
    group_life = 3 * max(times.matchmaking_seconds, 60.0)
    keys = {
        f"{run_id}_progress": _signed(progress_life, is_progress),
        f"{run_id}_metrics": _signed(3 * times.metrics_seconds, is_metrics),
        f"{run_id}_evaluations": _signed(3 * times.metrics_seconds, is_evaluation),
        f"{run_id}_base": _signed(3 * times.metrics_seconds, is_digest),
    }
    for averager in ("grad_averager", "state_averager"):
        donors = _unsigned(3 * times.donor_seconds, is_priority)
        keys[f"{run_id}_{averager}.all_averagers"] = donors
        keys[f"{run_id}_{averager}.0b"] = _unsigned(group_life, is_flag)
    keys[rosters.dht_key(run_id)] = KeyBounds(
        longest_life=ROSTER_SECONDS + FUTURE_SECONDS,
        largest_value=rosters.MOST_BYTES + 16,
        is_subkey=lambda subkey: is_count(subkey, MOST_EPOCHS),
        is_value=lambda _value: True,  # `RosterGuard` checks it
    )
    found = {DHTID.generate(key).to_bytes(): bounds for key, bounds in keys.items()}
    RUN_KEYS.update(found)
    return found


def guards(run_id: str, times: RunTimes, admission: Admission = OPEN) -> list[RecordValidatorBase]:
    """The validators that keep records of a run within their bounds, and those of a closed
    swarm to its members. admission: who may take part."""
    bounds = bounds_of(run_id, times)
    plain: list[RecordValidatorBase] = [EnvelopeGuard(bounds), ContentGuard(bounds)]
    if not admission.is_closed:
        return plain
    return [*plain, RosterGuard(run_id, admission), MembersGuard(run_id, admission)]


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


class RosterGuard(RecordValidatorBase):
    """Accepts a roster that the organiser signed and that isn't older than the one known here."""

    def __init__(self, run_id: str, admission: Admission) -> None:
        self._key = DHTID.generate(rosters.dht_key(run_id)).to_bytes()
        self._admission = admission

    @override
    def validate(self, record: DHTRecord) -> bool:
        if record.key != self._key:
            return True
        if not record.expiration_time <= get_dht_time() + ROSTER_SECONDS + FUTURE_SECONDS:
            return False
        sealed = _unpacked(record.value)
        if not isinstance(sealed, bytes):
            return False
        known, serial = self._admission.roster.serial, _unpacked(record.subkey)
        if not is_count(serial, MOST_EPOCHS) or serial < known:
            return False
        roster = self._admission.opened(sealed)
        return roster is not None and serial == roster.serial

    @property
    @override
    def priority(self) -> int:
        return 20  # before the RSA validator, which cuts off whatever looks like its signature


class MembersGuard(RecordValidatorBase):
    """Drops the records of peers that aren't on the roster.

    Of progress, the peer that a record names counts: plain hivemind signs it with a key that isn't
    its peer's. Nobody but its owner can end a record, so one that ends may be anybody's.
    """

    def __init__(self, run_id: str, admission: Admission) -> None:
        self._may_join = admission.may_join
        self._progress = DHTID.generate(f"{run_id}_progress").to_bytes()
        self._by_owner = frozenset(
            DHTID.generate(f"{run_id}_{kind}").to_bytes()
            for kind in ("metrics", "evaluations", "base")
        )
        self._by_peer_id = frozenset(
            DHTID.generate(f"{run_id}_{averager}{ending}").to_bytes()
            for averager in ("grad_averager", "state_averager")
            for ending in (".all_averagers", ".0b")
        )

    @override
    def validate(self, record: DHTRecord) -> bool:
        if record.key == self._progress:
            said = _unpacked(record.value)
            return said is None or self._may_join(said["peer_id"])
        if record.key in self._by_owner:
            owner = owner_peer_id(_unpacked(record.subkey))
            return owner is not None and self._may_join(owner)
        if record.key in self._by_peer_id:
            return self._may_join(_unpacked(record.subkey))
        return True

    @property
    @override
    def priority(self) -> int:
        return 4  # after the bounds


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
    return peer_id_of(key) if isinstance(key, RSAPublicKey) else None


def peer_id_of(key: RSAPublicKey) -> bytes:
    """The id of the peer with this key, as libp2p makes it."""
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


def speaking(entries: Iterable[tuple[bytes, Any]]) -> set[bytes]:
    """The peers that tell their progress under their own key: nobody else can have made them up
    without a key for each. Of plain hivemind's peers there is none."""
    return {
        value["peer_id"] for subkey, value in entries if owner_peer_id(subkey) == value["peer_id"]
    }
