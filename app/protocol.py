"""Every message between the app and its trainer process, in both directions.

Both ends come from the same installation, so an unknown message, an unknown field or a field of the
wrong type is an error. `app.pipe` has how they travel.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

from app.evaluation_messages import Evaluated, SampleGenerated
from app.message import Message
from app.p2p.network import Network
from app.p2p.sightings import PartFault

VERSION = 12
"""Increased with every change of a message; the trainer sends its own in `Hello`."""

LONG_PAUSE_SECONDS = 60.0
"""After a pause of this length, a trainer frees the device's memory for other programs."""


class TrainerPhase(StrEnum):
    """What the trainer is doing."""

    LOADING = "loading"  # importing torch and hivemind
    PREPARING_DATA = "preparing-data"
    PREPARING_MODEL = "preparing-model"
    TUNING = "tuning"  # measuring which micro-batch size is fastest
    COMPILING = "compiling"  # torch.compile
    JOINING = "joining"
    SYNCHRONIZING = "synchronizing"  # downloading the swarm's state from a peer
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    STOPPING = "stopping"


# --- commands: app -> trainer


class Start(Message, frozen=True):
    """Prepare, join and train. The first command, once per process."""

    id: int
    spec: dict[str, Any]
    """A `SwarmSpec` as JSON."""
    initial_peers: tuple[str, ...]
    """Multiaddrs to join by; our own embedded peer comes first."""
    identity_file: str
    checkpoint_dir: str
    cache_dir: str
    device: str
    """Torch's name, or ``auto``."""
    threads: int  # of the CPU, for torch
    network: Network
    """How its own peer takes part in the network."""
    report_interval: float = 0.5
    """Seconds between two `Progress` reports."""
    checkpoint_interval: float = 30.0
    """Seconds between two checkpoints."""
    tuning_file: str = ""
    """Keeps what `TrainerPhase.TUNING` measured; "" for nowhere."""
    max_memory: int = 0
    """Bytes of the device's memory that training may take; 0 for all."""
    roster_file: str = ""
    """Where the app keeps the newest roster of a closed swarm; "" without one."""
    evaluates: bool = True
    """Evaluate the swarm's weights; of several trainers on one machine, one does."""
    hub_sign_in: bool = False
    """Read the Hugging Face hub with the user's own sign-in."""


class Pause(Message, frozen=True):
    """Stop computing, but stay in the swarm."""

    id: int
    free_after: float = LONG_PAUSE_SECONDS
    """Seconds of this pause after which the device's memory is freed."""


class Resume(Message, frozen=True):
    """Compute again after a pause."""

    id: int


class Pace(Message, frozen=True):
    """How fast to compute, and how many bytes of tensors to transfer a second (0: no limit)."""

    id: int
    share: float = 1.0
    """Share of the time to compute, 0 to 1."""
    upload: int = 0
    download: int = 0


class Stop(Message, frozen=True):
    """Write a checkpoint, leave the swarm, exit."""

    id: int


Command = Start | Pause | Resume | Pace | Stop


# --- reports: trainer -> app


class Device(Message, frozen=True):
    """A device that torch sees."""

    id: str
    """Torch's name: ``cpu``, ``cuda:0``, ``mps``."""
    name: str
    memory: int  # in bytes; 0 when unknown
    uuid: str = ""  # as its driver gives it; "" for none
    architecture: str = ""
    """Of a GPU, the compilers' name: ``sm_89``, ``gfx1100``."""


class Devices(Message, frozen=True):
    """The answer to ``--trainer --devices``."""

    devices: tuple[Device, ...]
    """Every device that torch can train on, the CPU last."""
    torch_version: str
    unusable: tuple[Device, ...] = ()
    """GPUs that torch sees, but whose architecture it wasn't built for."""
    architectures: tuple[str, ...] = ()
    """The GPU architectures that torch was built for."""
    cuda: str = ""  # the version that torch was built with; "" for none
    hip: str = ""  # the version of HIP (ROCm), likewise


class Hello(Message, frozen=True):
    """First report: the trainer has started and uses this version of the protocol."""

    version: int
    pid: int


class Ack(Message, frozen=True):
    """The command with this id took effect."""

    id: int


class PhaseChanged(Message, frozen=True):
    """The trainer entered another phase."""

    phase: TrainerPhase


class Waiting(Message, frozen=True):
    """The trainer takes no step until it can reach others of the swarm."""

    whom: Literal["doors", "trainers"]
    """Whom it waits for: all of the swarm's doors (bootstrap peers), or any of its trainers."""
    seen: int
    """How many of them answer."""
    known: int
    """How many of them are known."""


class Ready(Message, frozen=True):
    """The trainer has built its model and joined the swarm."""

    peer_id: str
    addresses: tuple[str, ...]
    """The multiaddrs of its peer."""
    device: str
    device_name: str
    precision: str
    parameters: int
    """Number of the model's parameters."""
    micro_batch_size: int
    resumed_epoch: int | None
    """The epoch of the checkpoint that it resumed from; None without one."""
    compiled: bool = False  # by ``torch.compile``
    snapshot_epoch: int | None = None
    """The epoch of the door's snapshot that it began with, since nobody else trained."""


class MicroBatchHalved(Message, frozen=True):
    """The device ran out of memory; training continues with half the micro-batch, in samples."""

    micro_batch_size: int


class Progress(Message, frozen=True):
    """The progress of training, sent every ``report_interval``, however many steps there are.

    Rates are means over the last few seconds of computing. ``step``, ``samples``, ``tokens`` and
    ``compute_seconds`` are totals since the trainer's start.
    """

    step: int
    """Micro-batches."""
    epoch: int
    loss: float | None
    """Mean cross-entropy per token (nats) since the last report; None if no step ended."""
    samples_per_second: float | None
    tokens_per_second: float | None
    samples: int
    tokens: int
    compute_seconds: float
    epoch_samples: int
    """Own samples in the current epoch."""
    swarm_samples: int
    """All peers' samples in the current epoch."""
    target_batch_size: int
    eta: float | None
    """Seconds until the swarm has filled its target batch."""
    peers: int
    """Trainers in the run, this one included."""
    own_steps: int | None = None
    """Optimizer steps of our own since we last sent what we learnt; None without such steps."""
    exchanging: bool = False
    """A round runs."""


class Work(Message, frozen=True):
    """What this trainer did for the run, sent with each `Progress` and at the end.

    All are totals since the trainer's start. Samples that are neither pending nor entered are
    lost: not finite, in a round that failed, or computed on outdated weights. Bytes are those of
    compressed tensors (averaging and state transfer), without message headers.
    """

    samples_computed: int = 0
    """Forward and backward ran, with any result."""
    samples_pending: int = 0
    """Computed, and waiting for the averaging round at the end of their epoch."""
    samples_entered: int = 0
    """Own samples that entered a finished averaging round."""
    tokens_entered: int = 0
    """Tokens of the samples that entered."""
    compute_seconds: float = 0.0
    """Forward, backward and optimizer, of the samples that entered."""
    epochs: int = 0
    """Finished averaging rounds that own samples entered."""
    swarm_samples: int = 0
    """All peers' samples in these rounds."""
    bytes_sent: int = 0
    bytes_sent_in_rounds: int = 0
    """The part of `bytes_sent` that averaging rounds took; the rest is state that others
    downloaded."""
    bytes_received: int = 0
    training_seconds: float = 0.0
    """Time without pauses."""

    waiting_seconds: float = 0.0
    """The part of `training_seconds` that rounds, outer steps and downloads of state blocked."""


class RoundEnded(Message, frozen=True):
    """The averaging round of one epoch has ended."""

    epoch: int
    peers: int  # in the group; 1 when alone
    seconds: float
    """How long it took. Gradient averaging blocks training for as long; the others don't."""
    samples: int  # own ones that entered
    failure: str  # why the group failed; "" when it didn't

    arrived: float = 1.0
    """Share of the average's parts that came, 0 to 1; own values took the place of the others."""

    bytes_sent: int = 0
    """In rounds since the round before; counted as in `Work`."""


class StateDownload(Message, frozen=True):
    """How many bytes of the swarm's state have arrived, sent while the trainer downloads it."""

    received: int
    size: int
    seconds_left: float | None  # None when it isn't known
    problem: str  # why nothing arrives; "" otherwise


class FileDownload(Message, frozen=True):
    """How many bytes of what the spec names have arrived, sent while the trainer downloads it."""

    what: Literal["weights", "tokenizer", "data"]
    received: int
    size: int | None  # None when it isn't known
    seconds_left: float | None  # likewise

    @property
    def is_complete(self) -> bool:
        """All of it is there, and is worked on."""
        return self.received == self.size


class SampleDiscarded(Message, frozen=True):
    """Own samples of this epoch were dropped, since a loss or gradient was not finite."""

    epoch: int
    samples: int
    reason: str


class MemberAtFault(Message, frozen=True):
    """A member of our averaging round broke a bound, or did not answer in time."""

    peer_id: str
    fault: PartFault
    epoch: int
    time: float  # in seconds since the epoch
    evicted_until: float | None = None
    """Until when it shares no group with us, in seconds since the epoch; None: it may."""


class CheckpointSaved(Message, frozen=True):
    """A checkpoint was written to the disk."""

    epoch: int
    seconds: float


WarningTopic = Literal["checkpoint", "undone", "silent"]


class TrainerWarning(Message, frozen=True):
    """Something is wrong, and training goes on. It takes the place of the last one of its topic."""

    topic: WarningTopic
    message: str
    """A sentence; "" once it is over."""
    remedy: str = ""

    @property
    def text(self) -> str:
        """Message and remedy."""
        return f"{self.message} {self.remedy}".rstrip()


class TrainerProblem(Message, frozen=True):
    """An error of the trainer, with the parts of a `UserFacingError`."""

    message: str
    field: str = ""
    remedy: str = ""
    expected: bool = True
    """False for a defect of the app; ``message`` is then the last line of the traceback."""


class EndReason(StrEnum):
    """Why a trainer ended by itself."""

    STOPPED = "stopped"  # by a Stop command
    COMPLETED = "completed"  # the spec's stop condition is reached
    FAILED = "failed"  # a TrainerProblem was sent before
    ABANDONED = "abandoned"  # the app has ended


class Ended(Message, frozen=True):
    """The trainer's last report."""

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
    | StateDownload
    | FileDownload
    | MemberAtFault
    | Evaluated
    | SampleGenerated
    | CheckpointSaved
    | TrainerWarning
    | TrainerProblem
    | Devices
    | Ended
)
SendReport = Callable[[Report], None]
