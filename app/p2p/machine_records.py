"""What a machine says of itself to its swarm: a small record, signed by the machine's key.

The record is a msgpack array: a newer version may append fields, which an older one ignores.
Sealed, it is the signature (64 bytes) and then the array. The signature covers the run and the
public key as well, so that nobody can move a record to another swarm or machine.

Nothing here reaches the network; anything may come in, and what isn't a sound record has a
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
"""Of a sealed record."""

LIFE_SECONDS = 300.0
"""How long a record stays in the DHT: so long one can see that a machine has gone silent."""

FUTURE_SECONDS = 10.0
"""How far a machine's clock may be ahead of ours; hivemind itself refuses peers beyond 3 s."""

SHARDS = 16
"""The records of a run are spread over so many keys of the DHT. A node answers for a key with
all that it holds under it: with one key for all, each publishing would download everybody."""

LEFT = "left"
"""The state in a machine's last record, when it leaves in order."""

MOST_PEERS = 9
"""The app's own, and those of up to eight trainers."""

SIGNATURE_BYTES = 64
ALIAS_CHARACTERS = 40
_DEVICE_CHARACTERS = 60
_ERROR_CHARACTERS = 160
_MAX_FLOAT = 1e12
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""32 bytes in base64, in the one way to write them."""


class Flaw(StrEnum):
    """Why a record is dropped."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    ABSURD = "absurd"
    FUTURE = "future"
    REPLAYED = "replayed"
    WRONG_KEY = "wrong-key"


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A machine at one moment.

    sequence: higher in each record of a machine. time: by its clock, seconds since the epoch.
    state: a `Phase`, or `LEFT`. peer_ids: its peers in the swarm, the app's and the trainers'.
    loss: cross-entropy per token. Uses are 0 to 1, memory in bytes, temperature in °C, power in
    W. up_seconds: since the app started. samples, rounds: its own samples that entered averaging
    rounds, and how many rounds those were, since it joined. None where not known.
    """

    version: int = VERSION
    sequence: int
    time: float
    alias: str = ""
    lab: str = ""
    device: str = ""
    app_version: str = ""
    state: str = ""
    peer_ids: tuple[str, ...] = ()
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    loss: float | None = None
    epoch: int | None = None
    gpu_use: float | None = None
    gpu_memory: int | None = None
    gpu_memory_used: int | None = None
    cpu_use: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    temperature: float | None = None
    power: float | None = None
    up_seconds: float = 0.0
    samples: int = 0
    rounds: int = 0
    last_error: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MachineRecord)


# --- where


def shard_of(public_key: str) -> int:
    """The shard that holds a machine's record."""
    return hashlib.sha256(public_key.encode()).digest()[0] % SHARDS


def shard_key(run_id: str, shard: int) -> str:
    """The key of a shard in the DHT; its subkeys are the machines' public keys."""
    return f"{run_id}_machines_{shard}"


# --- out


def seal(record: MachineRecord, key: "MachineKey", run_id: str) -> bytes:
    """Sign a record, shortened to what fits."""
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
    if excess > 0:  # in scripts of three or four bytes a letter
        kept = short.last_error.encode()[: -excess - 2].decode(errors="ignore")
        short = msgspec.structs.replace(short, last_error=kept)
    return short


def _clean(text: str, characters: int) -> str:
    """On one line, without what a reader would refuse."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:characters].strip()


# --- in


def unseal(
    sealed: bytes, *, public_key: str, run_id: str, expiration: float, now: float
) -> MachineRecord | Flaw:
    """The record, if it is sound and its machine's; else what is wrong with it.

    expiration: of the entry in the DHT. now: seconds since the epoch, as all times. The
    signature, which takes the longest, is checked last.
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
    # the DHT keeps the entry that expires last: a record may claim its own life and no more
    lives_on = not expiration <= record.time + LIFE_SECONDS + 1  # so is NaN, which never ends
    return Flaw.REPLAYED if lives_on or now > record.time + LIFE_SECONDS else None


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
}
"""The most that each figure can be; none is below 0, or -60 for the temperature."""

_TEXTS = {
    "alias": ALIAS_CHARACTERS,
    "lab": ALIAS_CHARACTERS,
    "device": _DEVICE_CHARACTERS,
    "app_version": 40,
    "state": 20,
    "last_error": _ERROR_CHARACTERS,
}


def _is_absurd(record: MachineRecord) -> bool:
    """Figures that no machine has, or texts that would play tricks on a reader."""
    if not 0 < record.time < _MAX_FLOAT:
        return True
    for name, limit in _LIMITS.items():
        value = getattr(record, name)
        lowest = -60 if name == "temperature" else 0
        if value is not None and not (math.isfinite(value) and lowest <= value <= limit):
            return True
    texts = [(getattr(record, name), limit) for name, limit in _TEXTS.items()]
    texts += [(peer_id, 80) for peer_id in record.peer_ids]
    # control characters, and those that turn the direction of writing, aren't printable
    odd = any(len(text) > limit or not text.isprintable() for text, limit in texts)
    return odd or len(record.peer_ids) > MOST_PEERS


# --- many, again and again

FORGERIES = 10_000
"""How many unsound records we know again, so that each is checked and counted once."""

LAG_SECONDS = 240.0
"""A node that has missed the newest records tells older ones, as long as those live. That is no
forgery, and harms nobody: the newer one is known."""

BoardEntry = tuple[str, bytes, float]
"""Public key, sealed record, when it expires."""


@dataclass
class Inspection:
    """What was new among some entries. dropped: unsound ones that we hadn't seen before."""

    records: dict[str, MachineRecord] = field(default_factory=dict)
    dropped: "Counter[Flaw]" = field(default_factory=Counter)


class Inspector:
    """Checks entries, each one once: what we have already checked isn't looked at again.

    For one thread at a time.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._known: dict[str, tuple[bytes, int, float]] = {}
        self._forged: dict[bytes, None] = {}

    def inspect(self, entries: Iterable[BoardEntry], now: float) -> Inspection:
        """The sound records that are newer than those known, and how many were unsound."""
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
                findings.records[public_key] = found
        return findings

    def _remember(self, mark: bytes) -> None:
        self._forged[mark] = None
        if len(self._forged) > FORGERIES:
            del self._forged[next(iter(self._forged))]

    def tidy(self, now: float) -> None:
        """Forget the machines whose records can't come back any more."""
        limit = now - 2 * LIFE_SECONDS
        self._known = {key: known for key, known in self._known.items() if known[2] > limit}


def _newer(record: MachineRecord, *, sequence: int, time: float) -> "MachineRecord | Flaw | None":
    if record.sequence > sequence:
        return record
    return Flaw.REPLAYED if record.time < time - LAG_SECONDS else None
