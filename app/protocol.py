"""Every message between the app and its trainer, in both directions.

One JSON object a line: commands on the trainer's stdin, reports on a private duplicate of its
stdout. The set is closed: an unknown message, or a field of the wrong type, is a
`ProtocolError`, since both ends come from the same installation.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, TypeVar

import msgspec

from app.common.errors import ProtocolError
from app.p2p.network import Network

VERSION = 6
"""Raised with every change of a message; the trainer says its own in `Hello`."""

LONG_PAUSE_SECONDS = 60.0
"""After this a resting trainer gives the device's memory back; others may want it."""


class TrainerPhase(StrEnum):
    """What the trainer is doing."""

    LOADING = "loading"  # importing torch and hivemind
    PREPARING_DATA = "preparing-data"
    PREPARING_MODEL = "preparing-model"
    TUNING = "tuning"  # finding the micro-batch that is fastest
    COMPILING = "compiling"  # torch.compile
    JOINING = "joining"
    SYNCHRONIZING = "synchronizing"  # downloading the swarm's state from a peer
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    STOPPING = "stopping"


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Base of all messages; the tag on the wire (``type``) is the class name."""


# --- commands: app -> trainer


class Start(Message, frozen=True):
    """Prepare, join and train. The first command, once per process.

    spec: a `SwarmSpec` as JSON.
    initial_peers: multiaddrs to enter by, our own embedded peer first.
    network: how the trainer's peer takes part in it.
    threads: CPU threads for torch. max_memory: bytes that training may take of the device's
    memory, 0 for all.
    tuning_file: where to remember what is fastest on a device; "" to forget it.
    report_interval: seconds between two `Progress` reports.
    """

    id: int
    spec: dict[str, Any]
    initial_peers: tuple[str, ...]
    identity_file: str
    checkpoint_dir: str
    cache_dir: str
    device: str
    threads: int
    network: Network
    report_interval: float = 0.5
    checkpoint_interval: float = 30.0
    tuning_file: str = ""
    max_memory: int = 0


class Pause(Message, frozen=True):
    """Stop computing, stay in the swarm. free_after: seconds of the pause after which the
    device's memory is given back; in a later one, counted anew."""

    id: int
    free_after: float = LONG_PAUSE_SECONDS


class Resume(Message, frozen=True):
    """Go on computing."""

    id: int


class Pace(Message, frozen=True):
    """How fast to go from now on. share: of the time to compute, 0 to 1. upload, download: bytes
    of tensors a second, 0 for no limit."""

    id: int
    share: float = 1.0
    upload: int = 0
    download: int = 0


class Stop(Message, frozen=True):
    """Write a checkpoint, leave the swarm, exit."""

    id: int


Command = Start | Pause | Resume | Pace | Stop


# --- reports: trainer -> app


class Device(Message, frozen=True):
    """A device that torch sees. memory: bytes, 0 where not known. uuid: as its driver says it,
    "" where it has none. architecture: of a GPU, as compilers call it (``sm_89``, ``gfx1100``)."""

    id: str  # as torch names it: "cpu", "cuda:0", "mps"
    name: str
    memory: int
    uuid: str = ""
    architecture: str = ""


class Devices(Message, frozen=True):
    """The answer to ``--trainer --devices``: every device that torch can train on, CPU last.

    unusable: GPUs that it sees, but that it wasn't built for. architectures: those it was.
    cuda, hip: the version that it was built with, "" for none.
    """

    devices: tuple[Device, ...]
    torch_version: str
    unusable: tuple[Device, ...] = ()
    architectures: tuple[str, ...] = ()
    cuda: str = ""
    hip: str = ""


class Hello(Message, frozen=True):
    """First report: this trainer is alive and speaks this version."""

    version: int
    pid: int


class Ack(Message, frozen=True):
    """The command with this id took effect."""

    id: int


class PhaseChanged(Message, frozen=True):
    """The trainer does something else now."""

    phase: TrainerPhase


class Waiting(Message, frozen=True):
    """The trainer takes no step before it sees others of the swarm. seen: who answers, of the
    known ones: all its doors, or any of its trainers."""

    whom: Literal["doors", "trainers"]
    seen: int
    known: int


class Ready(Message, frozen=True):
    """The trainer is in the swarm, its model built. parameters: count; addresses: multiaddrs;
    compiled: by torch.compile."""

    peer_id: str
    addresses: tuple[str, ...]
    device: str
    device_name: str
    precision: str
    parameters: int
    micro_batch_size: int
    resumed_epoch: int | None
    compiled: bool = False


class MicroBatchHalved(Message, frozen=True):
    """The device's memory is too small for the micro-batch; training goes on with a smaller
    one, of micro_batch_size samples."""

    micro_batch_size: int


class Progress(Message, frozen=True):
    """How training does, a few times a second at most, whatever the rate of steps.

    step: micro-batches since this trainer started. loss: mean cross-entropy per token (nats)
    since the last report, None where no step ended. Rates are over the last few seconds of
    computing. samples, tokens, compute_seconds: totals since start.
    epoch_samples: own samples in the epoch under way; swarm_samples: everybody's, of
    target_batch_size. eta: seconds until the swarm has its batch. peers: trainers in the run,
    this one included.
    """

    step: int
    epoch: int
    loss: float | None
    samples_per_second: float | None
    tokens_per_second: float | None
    samples: int
    tokens: int
    compute_seconds: float
    epoch_samples: int
    swarm_samples: int
    target_batch_size: int
    eta: float | None
    peers: int


class Work(Message, frozen=True):
    """What this trainer did for the run: totals since it started. With each `Progress`, and once
    more at the end.

    samples_computed: forward and backward ran, with whatever result. samples_pending: of these,
    waiting for the round at the end of their epoch. samples_entered, tokens_entered,
    compute_seconds (forward, backward and optimizer): what entered a finished averaging round;
    epochs: how many such rounds; swarm_samples: everybody's samples in them. What is neither
    pending nor entered was lost: not finite, or in a round that failed, or computed on outdated
    weights. bytes_sent, bytes_received: tensors as they went to and came from other peers,
    averaging and state transfer, compressed, without the messages' headers.
    training_seconds: not paused.
    """

    samples_computed: int = 0
    samples_pending: int = 0
    samples_entered: int = 0
    tokens_entered: int = 0
    compute_seconds: float = 0.0
    epochs: int = 0
    swarm_samples: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    training_seconds: float = 0.0


class RoundEnded(Message, frozen=True):
    """One epoch's averaging. peers: group size, 1 when alone; seconds: blocked in it;
    samples: own samples that entered; failure: why the group failed, "" when it didn't."""

    epoch: int
    peers: int
    seconds: float
    samples: int
    failure: str


class SampleDiscarded(Message, frozen=True):
    """Own samples of this epoch were dropped (a loss or gradient that was not finite)."""

    epoch: int
    samples: int
    reason: str


class CheckpointSaved(Message, frozen=True):
    """A checkpoint is on the disk."""

    epoch: int
    seconds: float


class TrainerProblem(Message, frozen=True):
    """The trainer can't go on, or was refused something; the parts of a `UserFacingError`.

    expected: False for a defect of ours (the text is then a traceback's last line).
    """

    message: str
    field: str = ""
    remedy: str = ""
    expected: bool = True


class EndReason(StrEnum):
    """Why a trainer left by itself."""

    STOPPED = "stopped"  # it was told to
    COMPLETED = "completed"  # the spec's stop condition is reached
    FAILED = "failed"  # a Problem went before
    ABANDONED = "abandoned"  # the app is gone


class Ended(Message, frozen=True):
    """Last report."""

    reason: EndReason


Report = (
    Hello
    | Ack
    | PhaseChanged
    | Waiting
    | Ready
    | MicroBatchHalved
    | Progress
    | Work
    | RoundEnded
    | SampleDiscarded
    | CheckpointSaved
    | TrainerProblem
    | Devices
    | Ended
)

SendReport = Callable[[Report], None]

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def encode(message: Command | Report) -> bytes:
    """One line, with its newline. Floats that JSON lacks (NaN, infinity) become null."""
    return _encoder.encode(message) + b"\n"


def decode_command(line: bytes) -> Command:
    """Parse a line from the app; raises `ProtocolError`."""
    return _decode(_commands, line)


def decode_report(line: bytes) -> Report:
    """Parse a line from the trainer; raises `ProtocolError`."""
    return _decode(_reports, line)


def _decode(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a message of ours: {error}: {line[:200]!r}") from error
