"""A machine's record for its swarm: its state in a few hundred bytes, signed by its own key.

The record is a msgpack array: a newer version may append fields, which an older version ignores.
A sealed record is the signature (64 bytes) followed by the array. The signature also covers the
run and the public key, so that nobody can move a record to another swarm or machine.

This module doesn't use the network. Its input comes from anybody: an unsound record yields a
`Flaw`, never an exception.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from app.common.signing import MachineKey

VERSION = 1
MAX_BYTES = 1024
"""The size limit of a sealed record."""

LIFE_SECONDS = 300.0
"""How long a record stays in the DHT, and a machine that went silent can still be seen there."""

FUTURE_SECONDS = 10.0
"""How far a machine's clock may be ahead of ours; hivemind itself refuses peers beyond 3 s."""

SHARDS = 16
"""Over how many keys of the DHT a run's records are spread. A node answers a question for a key
with everything under it: with a single key, each publishing would download all records."""

LEFT = "left"
"""The state in the last record of a machine that leaves in order."""

MOST_PEERS = 9
"""Peer ids in a record: the app's, and those of up to eight trainers."""

SIGNATURE_BYTES = 64
ALIAS_CHARACTERS = 40
_DEVICE_CHARACTERS = 60
_ERROR_CHARACTERS = 160
_MAX_FLOAT = 1e12
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""32 bytes in base64. Their last letter has two unused bits, which must be 0: otherwise one key
could be written in four ways."""


class Flaw(StrEnum):
    """Why a record is dropped."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    ABSURD = "absurd"  # a figure that no machine has, or a text that would confuse a reader
    FUTURE = "future"  # its clock is too far ahead of ours
    REPLAYED = "replayed"  # too old, or made to outlive its time
    WRONG_KEY = "wrong-key"  # not signed by the key that it lies under


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A machine at one moment. None stands for what isn't known.

    The order of the fields is the order in the array: new ones go to the end.
    """

    version: int = VERSION
    """Of the record's format."""

    sequence: int
    """Higher in each record of a machine than in the one before."""

    time: float
    """When the record was made, by the machine's clock, in seconds since the epoch."""

    alias: str = ""
    """The machine's name, as its volunteer chose it."""

    lab: str = ""
    """The group that the machine belongs to, as its volunteer calls it."""

    device: str = ""
    """The name of the device that trains."""

    app_version: str = ""

    state: str = ""
    """The value of an `app.state.state.Phase`, or `LEFT`."""

    peer_ids: tuple[str, ...] = ()
    """The machine's peers in the swarm: the app's and its trainers'."""

    samples_per_second: float | None = None
    tokens_per_second: float | None = None

    loss: float | None = None
    """Cross-entropy per token."""

    epoch: int | None = None

    gpu_use: float | None = None
    """From 0 to 1."""

    gpu_memory: int | None = None
    """In bytes."""

    gpu_memory_used: int | None = None
    """In bytes."""

    cpu_use: float | None = None
    """From 0 to 1."""

    memory: int | None = None
    """In bytes."""

    memory_used: int | None = None
    """In bytes."""

    temperature: float | None = None
    """Of the GPU, in °C."""

    power: float | None = None
    """Of the GPU, in W."""

    up_seconds: float = 0.0
    """Since the app started."""

    samples: int = 0
    """The machine's samples that entered averaging rounds since it joined."""

    rounds: int = 0
    """The averaging rounds that these samples entered."""

    last_error: str = ""

    computing: float | None = None
    """The part of the time in which the swarm let the machine compute, from 0 to 1."""

    bytes_sent: int = 0
    """To other peers, by the trainers that run now."""

    crashes: int = 0
    """How often the machine's trainers ended unexpectedly since it joined."""

    failed_rounds: int = 0
    """The averaging rounds since then of which it got nothing."""

    refused: int = 0
    """Contributions of the last week that the backend has refused."""

    disk_free: int | None = None
    """Bytes that are free where the app keeps its data."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MachineRecord)


# --- keys in the DHT


def shard_of(public_key: str) -> int:
    """The shard that holds a machine's record."""
    return hashlib.sha256(public_key.encode()).digest()[0] % SHARDS


def shard_key(run_id: str, shard: int) -> str:
    """The key of a shard in the DHT; its subkeys are the machines' public keys."""
    return f"{run_id}_machines_{shard}"


# --- seal


def seal(record: MachineRecord, key: "MachineKey", run_id: str) -> bytes:
    """Sign a record. Texts that are too long are cut."""
    body = _encoder.encode(_fitting(record))
    return key.sign(_signed(body, key.public_key, run_id)) + body


def _signed(body: bytes, public_key: str, run_id: str) -> bytes:
    return b"\0".join((b"cotrain machine record", run_id.encode(), public_key.encode(), body))


def _fitting(record: MachineRecord) -> MachineRecord:
    short = msgspec.structs.replace(
        record,
        alias=_clean(record.alias, ALIAS_CHARACTERS),
        lab=_clean(record.lab, ALIAS_CHARACTERS),
        device=_clean(record.device, _DEVICE_CHARACTERS),
        last_error=_clean(record.last_error, _ERROR_CHARACTERS),
    )
    excess = SIGNATURE_BYTES + len(_encoder.encode(short)) - MAX_BYTES
    if excess > 0:  # texts in scripts whose letters take three or four bytes
        kept = short.last_error.encode()[: -excess - 2].decode(errors="ignore")
        short = msgspec.structs.replace(short, last_error=kept)
    return short


def _clean(text: str, characters: int) -> str:
    """The text on one line, without characters for which `unseal` would drop the record."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:characters].strip()


# --- unseal


def unseal(
    sealed: bytes, *, public_key: str, run_id: str, expiration: float, now: float
) -> MachineRecord | Flaw:
    """The record if it is sound and its machine's own, else what is wrong with it.

    public_key: the subkey that the record lies under. expiration: when its entry in the DHT
    expires. Times are in seconds since the epoch. The signature is checked last, since that takes
    the longest.
    """
    if len(sealed) > MAX_BYTES:
        return Flaw.OVERSIZED
    if len(sealed) <= SIGNATURE_BYTES or not _PUBLIC_KEY.fullmatch(public_key):
        return Flaw.MALFORMED
    body = sealed[SIGNATURE_BYTES:]
    try:
        record = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Flaw.MALFORMED
    flaw = _flaw_of(record, expiration, now)
    if flaw is not None:
        return flaw
    from app.common import signing

    data = _signed(body, public_key, run_id)
    genuine = signing.verify(public_key, data, sealed[:SIGNATURE_BYTES])
    return record if genuine else Flaw.WRONG_KEY


def _flaw_of(record: MachineRecord, expiration: float, now: float) -> Flaw | None:
    if record.version < VERSION:
        return Flaw.MALFORMED
    if _is_absurd(record):
        return Flaw.ABSURD
    if record.time > now + FUTURE_SECONDS:
        return Flaw.FUTURE
    # The DHT keeps the entry that expires last, so a record must not outlive its time.
    limit = record.time + LIFE_SECONDS
    outlives = not (expiration <= limit + 1)  # negated so that NaN counts as too late
    return Flaw.REPLAYED if outlives or now > limit else None


_LIMITS: dict[str, float] = {
    "version": 1000,
    "sequence": 2**53,
    "samples_per_second": 1e7,
    "tokens_per_second": 1e10,
    "loss": 1e6,
    "epoch": 1e9,
    "gpu_use": 1,
    "gpu_memory": 2**50,
    "gpu_memory_used": 2**50,
    "cpu_use": 1,
    "memory": 2**50,
    "memory_used": 2**50,
    "temperature": 150,
    "power": 20_000,
    "up_seconds": 1e10,
    "samples": 2**53,
    "rounds": 1e9,
    "computing": 1,
    "bytes_sent": 2**53,
    "crashes": 1e9,
    "failed_rounds": 1e9,
    "refused": 1e9,
    "disk_free": 2**60,
}
"""The highest value of each figure. The lowest is 0, and -60 for the temperature."""

# The greatest length of each text, in characters.
_TEXTS = {
    "alias": ALIAS_CHARACTERS,
    "lab": ALIAS_CHARACTERS,
    "device": _DEVICE_CHARACTERS,
    "app_version": 40,
    "state": 20,
    "last_error": _ERROR_CHARACTERS,
}


def _is_absurd(record: MachineRecord) -> bool:
    """The record has figures that no machine has, or texts that would confuse a reader."""
    if not 0 < record.time < _MAX_FLOAT:
        return True
    for name, limit in _LIMITS.items():
        value = getattr(record, name)
        lowest = -60 if name == "temperature" else 0
        if value is not None and not (math.isfinite(value) and lowest <= value <= limit):
            return True
    texts = [(getattr(record, name), limit) for name, limit in _TEXTS.items()]
    texts += [(peer_id, 80) for peer_id in record.peer_ids]
    # control characters and those that change the direction of writing aren't printable
    odd = any(len(text) > limit or not text.isprintable() for text, limit in texts)
    return odd or len(record.peer_ids) > MOST_PEERS


# --- inspect many, again and again

FORGERIES = 10_000
"""How many unsound records are remembered, so that each is checked and counted once."""

MOST_MACHINES = 20_000
"""How many machines' newest records are remembered; anybody can make up any number."""

LAG_SECONDS = 240.0
"""How much older than the newest known record another one may be without counting as replayed.
Nodes that have missed the newest record honestly send an older one until that expires."""

BoardEntry = tuple[str, bytes, float]
"""A public key, its sealed record, and when the entry expires in seconds since the epoch."""


@dataclass
class Inspection:
    """What was new among some entries."""

    records: dict[str, MachineRecord] = field(default_factory=dict)
    """The newest sound record of each machine, by its public key."""

    dropped: "Counter[Flaw]" = field(default_factory=Counter)
    """How many unsound records were seen for the first time."""


class Inspector:
    """Checks entries of the DHT, each of them once. For one thread at a time."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._known: dict[str, tuple[bytes, int, float]] = {}
        self._forged: dict[bytes, None] = {}

    def inspect(self, entries: Iterable[BoardEntry], now: float) -> Inspection:
        """Find the sound records that are newer than the known ones, and count the unsound ones.

        now: seconds since the epoch.
        """
        findings = Inspection()
        for public_key, sealed, expiration in entries:
            known = self._known.get(public_key)
            if known is not None and known[0] == sealed:
                continue
            mark = hashlib.blake2b(sealed, key=public_key.encode()[:64], digest_size=16).digest()
            if mark in self._forged:
                continue
            found: MachineRecord | Flaw | None = unseal(
                sealed,
                public_key=public_key,
                run_id=self._run_id,
                expiration=expiration,
                now=now,
            )
            if isinstance(found, MachineRecord) and known is not None:
                found = _newer(found, sequence=known[1], time=known[2])
            if isinstance(found, Flaw):
                findings.dropped[found] += 1
                self._remember(mark)
            elif found is not None:
                self._known[public_key] = (sealed, found.sequence, found.time)
                if len(self._known) > MOST_MACHINES:
                    del self._known[next(iter(self._known))]
                findings.records[public_key] = found
        return findings

    def _remember(self, mark: bytes) -> None:
        self._forged[mark] = None
        if len(self._forged) > FORGERIES:
            del self._forged[next(iter(self._forged))]

    def tidy(self, now: float) -> None:
        """Forget the machines whose records have expired everywhere. now: seconds since the
        epoch."""
        limit = now - 2 * LIFE_SECONDS
        self._known = {key: known for key, known in self._known.items() if known[2] > limit}


def _newer(record: MachineRecord, *, sequence: int, time: float) -> "MachineRecord | Flaw | None":
    if record.sequence > sequence:
        return record
    return Flaw.REPLAYED if record.time < time - LAG_SECONDS else None
