"""What a run looks like in the DHT: its keys, its validators, and who signs.

Imports hivemind (and so torch, some seconds): import this module late and off the loop's
thread. Used by the embedded peer and by the trainer, which must agree on all of it.

The records are Hivemind's own. ``{run_id}_progress`` is `hivemind.Optimizer`'s;
``{run_id}_metrics`` follows the convention of hivemind's ALBERT example.
"""

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.routing import DHTID
from hivemind.dht.schema import BytesWithPublicKey, SchemaValidator
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.optim.progress_tracker import TrainingProgressSchema
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon import P2P
from hivemind.proto import crypto_pb2
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.logging import use_hivemind_log_handler
from pydantic.v1 import BaseModel, StrictFloat, confloat, conint
from typing_extensions import override

from app.p2p import calls
from app.p2p import machine_records as records
from app.p2p.network import Network

use_hivemind_log_handler("nowhere")  # its records go to the root logger, as everybody's


def _means_something(record: logging.LogRecord) -> bool:
    """WORKAROUND (hivemind 1.1.12): whenever an averager ends, the DHT process logs an error
    with a traceback, as a reply to the averager can't be delivered any more."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (FileNotFoundError, ConnectionError))


logging.getLogger("hivemind.dht.dht").addFilter(_means_something)


def _as_a_warning(record: logging.LogRecord) -> bool:
    """A peer that can't be reached or a round without a group is daily life in a swarm: each is
    reported as such, and hivemind goes on."""
    if record.levelno > logging.WARNING:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


for _name in ("averaging.averager", "averaging.matchmaking", "optim.optimizer"):
    logging.getLogger(f"hivemind.{_name}").addFilter(_as_a_warning)

METRICS_SECONDS = 60.0
"""How long a metrics record lives."""


class LocalMetrics(BaseModel):
    """A trainer's word on its training. loss: sum over ``mini_steps`` micro-batches."""

    step: conint(ge=0, strict=True)  # type: ignore[valid-type]
    samples_per_second: confloat(ge=0.0, strict=True)  # type: ignore[valid-type]
    samples_accumulated: conint(ge=0, strict=True)  # type: ignore[valid-type]
    loss: StrictFloat
    mini_steps: conint(ge=0, strict=True)  # type: ignore[valid-type]


class MetricSchema(BaseModel):
    """The record under ``{run_id}_metrics``: one entry a trainer, signed by it."""

    metrics: dict[BytesWithPublicKey, LocalMetrics]  # type: ignore[valid-type]


class MachineRecordValidator(RecordValidatorBase):
    """Lets a machine's record in only under that machine's own key, sound and for its own life:
    nobody overwrites another's, and an old one doesn't come back. Other keys are not looked at."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        keys = (records.shard_key(run_id, shard) for shard in range(records.SHARDS))
        self._keys = frozenset(DHTID.generate(key).to_bytes() for key in keys)

    @override
    def validate(self, record: DHTRecord) -> bool:
        if record.key not in self._keys:
            return True
        public_key = calls.unpacked(record.subkey)
        sealed = calls.unpacked(record.value)
        if not isinstance(public_key, str) or not isinstance(sealed, bytes):
            return False
        found = records.unseal(
            sealed,
            public_key=public_key,
            run_id=self._run_id,
            expiration=record.expiration_time,
            now=time.time(),
        )
        return isinstance(found, records.MachineRecord)

    @property
    @override
    def priority(self) -> int:
        return 20  # before the RSA validator, which would cut what looks like its signature


@dataclass(frozen=True)
class Identity:
    """The key of a peer: it names the peer in libp2p and signs its records."""

    peer_id: str
    key: RSAPrivateKey

    @property
    def raw(self) -> bytes:
        """The peer id as bytes."""
        return PeerID.from_base58(self.peer_id).to_bytes()


def load_identity(path: Path) -> Identity:
    """Read a peer's key, or make one (RSA-2048, mode 0400) where there is none yet."""
    if not path.exists():
        _generate(path)
    raw = path.read_bytes()
    key = RSAPrivateKey.__new__(RSAPrivateKey)
    key.__setstate__({"_private_key": _private_key_of(raw)})
    return Identity(peer_id=PeerID.from_identity(raw).to_base58(), key=key)


def _private_key_of(identity: bytes) -> bytes:
    """The DER inside libp2p's protobuf."""
    return bytes(crypto_pb2.PrivateKey.FromString(identity).data)  # type: ignore[attr-defined]


def _generate(path: Path) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(descriptor)  # hivemind writes first and restricts afterwards
    P2P.generate_identity(str(temporary))
    temporary.replace(path)


def sign_everything_with(identity: Identity) -> None:
    """Make this identity the process-wide key of hivemind.

    WORKAROUND (hivemind 1.1.12): the process-wide key is new at every start, so a restarted
    trainer's old progress record would count as another peer until it expires.
    """
    RSAPrivateKey._process_wide_key = identity.key  # noqa: SLF001


def validators(run_id: str, key: RSAPrivateKey) -> list[RecordValidatorBase]:
    """The validators that every node of the run carries; without them, reading the progress
    hangs (hivemind 1.1.12), and anybody could overwrite it."""
    return [
        SchemaValidator(TrainingProgressSchema, prefix=run_id),
        SchemaValidator(MetricSchema, prefix=run_id),
        RSASignatureValidator(key),
        MachineRecordValidator(run_id),
    ]


# WORKAROUND (hivemind 1.1.12): p2pd looks for at least four relays, for up to three minutes, before
# it takes one, unless it is told to look for none beside those that it was given. hivemind has no
# option for that, but passes on what these names stand for.
_KNOWN_RELAYS = {"relayDiscovery": 0}
_PRIVATE = P2P.FORCE_REACHABILITY_MAPPING["private"]
P2P.FORCE_REACHABILITY_MAPPING.update(
    {"auto, known relays": _KNOWN_RELAYS, "private, known relays": _KNOWN_RELAYS | _PRIVATE}
)


def node_options(network: Network) -> dict[str, Any]:
    """What hivemind is told of a node's place in the network, whoever's node it is."""
    options: dict[str, Any] = {"host_maddrs": list(network.listen), "client_mode": False}
    if network.local:
        return options | {"use_relay": False, "nat_port_map": False, "auto_nat": False}
    client = network.reachability == "client"
    return options | {
        "host_maddrs": [] if client else options["host_maddrs"],
        "no_listen": client,
        "client_mode": client,
        "announce_maddrs": list(network.announce) or None,
        "use_relay": True,  # to reach peers that have one
        "use_auto_relay": network.reachability in ("auto", "relay"),
        "trusted_relays": list(network.relays) or None,
        "force_reachability": _forced(network),
        "nat_port_map": network.reachability in ("auto", "public"),
        "auto_nat": not client,
    }


def _forced(network: Network) -> str | None:
    forced = {"public": "public", "relay": "private"}.get(network.reachability)
    if network.relays and network.reachability in ("auto", "relay"):
        return f"{forced or 'auto'}, known relays"
    return forced


def progress_key(run_id: str) -> str:
    """Where the trainers of a run say how far they are."""
    return f"{run_id}_progress"


def metrics_key(run_id: str) -> str:
    """Where the trainers of a run say their loss."""
    return f"{run_id}_metrics"


@dataclass(frozen=True)
class RunSummary:
    """All trainers' records taken together; None where not known. trainers: their peer ids."""

    epoch: int
    samples: int
    trainers: tuple[str, ...]
    samples_per_second: float
    loss: float | None


def summarize(
    progress: Mapping[Any, Any] | None, metrics: Mapping[Any, Any] | None
) -> RunSummary | None:
    """Sum up the two records of a run; None when nobody trains."""
    entries = [
        entry.value
        for entry in (progress or {}).values()
        if entry.value is not None and math.isfinite(entry.value["samples_per_second"])
    ]
    if not entries:
        return None
    epoch = max(entry["epoch"] for entry in entries)
    return RunSummary(
        epoch=epoch,
        samples=sum(e["samples_accumulated"] for e in entries if e["epoch"] == epoch),
        trainers=tuple(_base58(entry["peer_id"]) for entry in entries),
        samples_per_second=sum(e["samples_per_second"] for e in entries),
        loss=_mean_loss([entry.value for entry in (metrics or {}).values()]),
    )


def full_peers(progress: Mapping[Any, Any] | None) -> frozenset[str]:
    """The trainers of a progress record that others can call on: those that aren't clients."""
    entries = (entry.value for entry in (progress or {}).values())
    return frozenset(
        _base58(entry["peer_id"]) for entry in entries if entry and not entry["client_mode"]
    )


@lru_cache(maxsize=10_000)
def _base58(peer_id: bytes) -> str:
    return PeerID(peer_id).to_base58()


def _mean_loss(entries: list[dict[str, Any]]) -> float | None:
    steps = sum(entry["mini_steps"] for entry in entries)
    if not steps:
        return None
    loss = float(sum(entry["loss"] for entry in entries) / steps)
    return loss if math.isfinite(loss) else None  # anybody may publish a NaN
