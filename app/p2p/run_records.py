"""The records of a run in the DHT: their keys, their validators and the key that signs them.

Importing this module imports hivemind and torch, which takes seconds: import it late and in a
thread. The embedded peer and the trainer both use it and must agree on all of it.

``{run_id}_progress`` is written by `hivemind.Optimizer`; ``{run_id}_metrics`` follows the
convention of hivemind's ALBERT example; ``{run_id}_base`` holds a digest for each trainer of a run
that begins with pretrained weights; the machine records are described in
`app.p2p.machine_records`.
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
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

from app.common.errors import FolderError
from app.common.i18n import _
from app.common.paths import set_aside
from app.common.signing import fits_together
from app.organiser.admission import OPEN, Admission
from app.p2p import calls
from app.p2p import machine_records as records
from app.p2p.guards import messages, open_streams, storage
from app.p2p.guards.records import guards, peer_id_of, unforged
from app.p2p.network import Network
from app.p2p.plausible import (
    PLAIN_TIMES,
    RunTimes,
    agreed_epoch,
    plausible_mean,
    plausible_rates,
)

use_hivemind_log_handler("nowhere")  # hivemind's log records go to the root logger instead
messages.bound_nesting()
messages.bound_messages()
open_streams.bound_streams()
storage.guard_storage()


def _means_something(record: logging.LogRecord) -> bool:
    """WORKAROUND (hivemind 1.1.12): whenever an averager ends, the DHT process logs an error
    with a traceback, because it can't deliver a reply to the averager any more."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (FileNotFoundError, ConnectionError))


logging.getLogger("hivemind.dht.dht").addFilter(_means_something)


def _as_a_warning(record: logging.LogRecord) -> bool:
    """Log an unreachable peer or a round without a group as a warning: both are daily life in a
    swarm, our reports show them, and hivemind goes on."""
    if record.levelno > logging.WARNING:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


for _name in ("averaging.averager", "averaging.matchmaking", "optim.optimizer"):
    logging.getLogger(f"hivemind.{_name}").addFilter(_as_a_warning)

MOST_KEY_BYTES = 2**16
"""Of a file with a peer's key; a whole one has 1.2 KB."""

METRICS_SECONDS = 60.0
"""How long a metrics record stays in the DHT."""


class LocalMetrics(BaseModel):
    """What a trainer tells the swarm about its training."""

    step: conint(ge=0, strict=True)  # type: ignore[valid-type]
    """The trainer's epoch."""

    samples_per_second: confloat(ge=0.0, strict=True)  # type: ignore[valid-type]

    samples_accumulated: conint(ge=0, strict=True)  # type: ignore[valid-type]
    """Samples that this trainer has computed since it started."""

    loss: StrictFloat
    """Cross-entropy per token, the sum over ``mini_steps`` micro-batches."""

    mini_steps: conint(ge=0, strict=True)  # type: ignore[valid-type]
    """How many micro-batches the loss sums over."""


class LocalEvaluation(BaseModel):
    """What a trainer's last evaluation of the swarm's weights said. Under a key of its own: a node
    of an earlier version drops a metrics record with a field that it doesn't know."""

    epoch: conint(ge=0, strict=True)  # type: ignore[valid-type]
    """That the weights were of."""

    loss: confloat(ge=0.0, strict=True)  # type: ignore[valid-type]
    """Mean cross-entropy per token, in nats."""

    bits_per_byte: confloat(ge=0.0, strict=True)  # type: ignore[valid-type]

    tokens: conint(ge=1, strict=True)  # type: ignore[valid-type]
    """How many were predicted."""


class EvaluationSchema(BaseModel):
    """The record under ``{run_id}_evaluations``: one entry per trainer, which signs it."""

    evaluations: dict[BytesWithPublicKey, LocalEvaluation]  # type: ignore[valid-type]


class MetricSchema(BaseModel):
    """The record under ``{run_id}_metrics``: one entry per trainer, which signs it."""

    metrics: dict[BytesWithPublicKey, LocalMetrics]  # type: ignore[valid-type]


class MachineRecordValidator(RecordValidatorBase):
    """Accepts a machine's record only if it is sound, signed by the key that it lies under, and
    expires when it says. So nobody overwrites another machine's record or stores an old one again.
    Records under other keys of the DHT pass unchecked."""

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
        return 20  # before the RSA validator, which cuts off whatever looks like its signature


@dataclass(frozen=True)
class Identity:
    """The key of a peer, from which its id follows and which signs its records."""

    peer_id: str
    """In base58."""

    key: RSAPrivateKey

    @property
    def raw(self) -> bytes:
        """The peer id as bytes."""
        return PeerID.from_base58(self.peer_id).to_bytes()


def load_identity(path: Path) -> Identity:
    """Read a peer's key from a file; a file that doesn't exist is made (RSA-2048, mode 0400).

    A damaged file is set aside and a new key made: the peer has another id from then on. Raises
    `FolderError` when the file can't be read or written.
    """
    try:
        if not path.exists():
            _generate(path)
        try:
            return _read(path)
        except (_DamagedKeyError, IsADirectoryError) as error:
            set_aside(path, why=error)
            _generate(path)
            return _read(path)
    except OSError as error:
        raise FolderError(
            _("the key of this machine's peer can't be used: {reason}.").format(
                reason=error.strerror or error
            ),
            field=str(path),
            remedy=_("Check that the disk isn't full and that you may read and write there."),
        ) from error


class _DamagedKeyError(Exception):
    """A file doesn't hold a peer's key."""


def _read(path: Path) -> Identity:
    with path.open("rb") as stream:
        private = _private_key_of(stream.read(MOST_KEY_BYTES))
    key = RSAPrivateKey.__new__(RSAPrivateKey)
    key._private_key = private  # noqa: SLF001
    return Identity(peer_id=PeerID(peer_id_of(private.public_key())).to_base58(), key=key)


def _private_key_of(identity: bytes) -> rsa.RSAPrivateKey:
    """The key inside libp2p's protobuf message. Raises `_DamagedKeyError`."""
    wire: Any = crypto_pb2  # its names are made at run time
    try:
        with calls.hivemind_errors():
            message = wire.PrivateKey.FromString(identity)
            # Whether the factors are primes takes 40 ms in which no other thread runs.
            key = load_der_private_key(message.data, None, unsafe_skip_rsa_key_validation=True)
    except calls.CallError as error:
        raise _DamagedKeyError(error.reason) from error
    is_whole = message.SerializeToString() == identity and message.key_type == wire.RSA
    if not (is_whole and isinstance(key, rsa.RSAPrivateKey) and fits_together(key)):
        raise _DamagedKeyError("it isn't a key of ours")
    return key


def _generate(path: Path) -> None:
    # hivemind restricts the file's mode only after it has written, so the folder is private
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, "key")
        P2P.generate_identity(str(made))
        with contextlib.suppress(OSError):  # the first stays, if another was made meanwhile
            path.hardlink_to(made)
        if not path.exists():  # a file system without hard links
            made.replace(path)


def sign_everything_with(identity: Identity) -> None:
    """Make this identity the process-wide key of hivemind.

    WORKAROUND (hivemind 1.1.12): the process-wide key is new at every start, so a restarted
    trainer's old progress record would count as another peer until it expires.
    """
    RSAPrivateKey._process_wide_key = identity.key  # noqa: SLF001


def validators(
    run_id: str,
    key: RSAPrivateKey,
    times: RunTimes = PLAIN_TIMES,
    admission: Admission = OPEN,
) -> list[RecordValidatorBase]:
    """The validators that every node of the run must have. admission: who may take part in it.

    Without them, anybody could overwrite the run's records, and reading the progress hangs
    (hivemind 1.1.12).
    """
    return [
        SchemaValidator(TrainingProgressSchema, prefix=run_id),
        SchemaValidator(MetricSchema, prefix=run_id),
        SchemaValidator(EvaluationSchema, prefix=run_id),
        RSASignatureValidator(key),
        *guards(run_id, times, admission),
        MachineRecordValidator(run_id),
    ]


# WORKAROUND (hivemind 1.1.12): before p2pd takes a relay, it looks for at least four of them, for
# up to three minutes, unless relayDiscovery=0 limits it to the relays that it was given. hivemind
# has no option for that, but it passes on the flags behind a name of this table.
_KNOWN_RELAYS = {"relayDiscovery": 0}
_PRIVATE = P2P.FORCE_REACHABILITY_MAPPING["private"]
P2P.FORCE_REACHABILITY_MAPPING.update(
    {"auto, known relays": _KNOWN_RELAYS, "private, known relays": _KNOWN_RELAYS | _PRIVATE}
)


def node_options(network: Network) -> dict[str, Any]:
    """The options of `DHTNode.create` for a node's place in the network. The embedded peer and
    the trainer have the same."""
    options: dict[str, Any] = {"host_maddrs": list(network.listen), "client_mode": False}
    if network.local:
        return options | {"use_relay": False, "nat_port_map": False, "auto_nat": False}
    client = network.reachability == "client"
    by_relay = network.reachability in ("auto", "relay")
    return options | {
        "host_maddrs": [] if client else options["host_maddrs"],
        "no_listen": client,
        "client_mode": client,
        "announce_maddrs": list(network.announce) or None,
        "use_relay": True,  # to reach peers through their relays
        "use_auto_relay": by_relay,
        "trusted_relays": (list(network.relays) or None) if by_relay else None,  # else p2pd panics
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
    """The key of the DHT under which a run's trainers store their progress."""
    return f"{run_id}_progress"


def metrics_key(run_id: str) -> str:
    """The key of the DHT under which a run's trainers store their metrics."""
    return f"{run_id}_metrics"


def evaluations_key(run_id: str) -> str:
    """The key of the DHT under which a run's trainers store their evaluations."""
    return f"{run_id}_evaluations"


def base_key(run_id: str) -> str:
    """The key of the DHT under which a run's trainers say which weights they began with."""
    return f"{run_id}_base"


@dataclass(frozen=True)
class RunSummary:
    """The sum of all trainers' records."""

    epoch: int
    """The epoch that most trainers have reached."""

    samples: int
    """Samples that the trainers of this epoch have gathered for it so far."""

    trainers: tuple[str, ...]
    """Their peer ids."""

    samples_per_second: float

    loss: float | None
    """Cross-entropy per token, the mean over all micro-batches; None when nobody tells one."""

    held_out_loss: float | None = None
    """Cross-entropy per token of held-out text, the mean over all trainers that evaluate."""


def summarize(
    progress: Mapping[Any, Any] | None,
    metrics: Mapping[Any, Any] | None,
    evaluations: Mapping[Any, Any] | None = None,
) -> RunSummary | None:
    """Sum up the records of a run; None when nobody trains."""
    said = ((subkey, entry.value) for subkey, entry in (progress or {}).items())
    entries = unforged(each for each in said if each[1] is not None)
    if not entries:
        return None
    epoch = agreed_epoch(entry["epoch"] for entry in entries)
    rates = plausible_rates([entry["samples_per_second"] for entry in entries])
    return RunSummary(
        epoch=epoch,
        samples=sum(e["samples_accumulated"] for e in entries if e["epoch"] == epoch),
        trainers=tuple(_base58(entry["peer_id"]) for entry in entries),
        samples_per_second=sum(rates),
        loss=_mean_loss(entry.value for entry in (metrics or {}).values()),
        held_out_loss=plausible_mean(entry.value["loss"] for entry in (evaluations or {}).values()),
    )


def full_peers(progress: Mapping[Any, Any] | None) -> frozenset[str]:
    """The trainers of a progress record that others can call: those that aren't clients."""
    entries = (entry.value for entry in (progress or {}).values())
    return frozenset(
        _base58(entry["peer_id"]) for entry in entries if entry and not entry["client_mode"]
    )


@lru_cache(maxsize=10_000)
def _base58(peer_id: bytes) -> str:
    return PeerID(peer_id).to_base58()


def _mean_loss(entries: Iterable[dict[str, Any]]) -> float | None:
    return plausible_mean(
        entry["loss"] / entry["mini_steps"] for entry in entries if entry["mini_steps"]
    )
