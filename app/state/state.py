"""What the app knows, as one frozen value; only `app.state.transition.after` changes it."""

from dataclasses import dataclass, field
from enum import StrEnum

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.protocol import (
    Device,
    FileDownload,
    Ready,
    StateDownload,
    TrainerPhase,
    TrainerWarning,
    Waiting,
)
from app.state.facts import (
    Access,
    DoorSnapshot,
    Evaluation,
    GeneratedSample,
    LabDeed,
    LocalApi,
    MemberFaults,
    Problem,
    Release,
    ReportingState,
    Returning,
    Swarm,
    TrainerPart,
)
from app.terms.terms import Terms, Verdict


class Phase(StrEnum):
    """What a contributor is doing."""

    DISCONNECTED = "disconnected"
    JOINING = "joining"
    WATCHING = "watching"  # in the swarm, not training
    WAITING = "waiting"  # training starts when the volunteer's terms allow it
    PREPARING = "preparing"
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    STOPPING = "stopping"
    FAILED = "failed"  # training ended unexpectedly

    @property
    def has_trainer(self) -> bool:
        """A trainer process runs, or is being started."""
        return self in _WITH_TRAINER


_WITH_TRAINER = frozenset(
    {Phase.PREPARING, Phase.TRAINING, Phase.AVERAGING, Phase.PAUSED, Phase.STOPPING}
)


LEAST_SECONDS = 5.0
"""Of training, before a part of the time means anything."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """How an averaging round went."""

    epoch: int
    peers: int
    """Size of the group; 1 when nobody else took part."""
    seconds: float
    """How long it took; gradient averaging blocks training meanwhile."""
    failure: str
    """Empty when the round succeeded."""
    samples: int = 0
    """Our own samples that entered it."""
    arrived: float = 1.0
    """Share of the average's parts that came, 0 to 1."""
    bytes_sent: int = 0
    """In rounds since the one before."""


@dataclass(frozen=True, kw_only=True)
class OwnTraining:
    """What our trainers do, as if they were one. Counts are sums over all trainers."""

    device: str
    """The first trainer's, as are ``peer_id`` and ``precision``."""
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    """Multiaddrs of the trainers' peers."""
    device_name: str = ""
    """For people, such as ``2 × RTX 4090``."""
    precision: str = ""
    parameters: int | None = None
    """Of the model."""
    micro_batch_size: int | None = None
    """Samples of one step."""
    compiled: bool = False
    short_of_memory: bool = False
    """The micro-batch had to be made smaller, because the device ran out of memory."""
    resumed_epoch: int | None = None
    """Epoch of the checkpoint that training resumed from; None where it began anew."""
    snapshot_epoch: int | None = None
    """Epoch of the door's snapshot that training began with; None where it began otherwise."""
    step: int = 0
    epoch: int = 0
    loss: float | None = None
    """Cross-entropy per token, in nats."""
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    samples: int = 0
    """Computed since the trainers started."""
    tokens: int = 0
    """Computed since the trainers started."""
    compute_seconds: float = 0.0
    epoch_samples: int = 0
    """Our own samples in the epoch under way."""
    own_steps: int | None = None
    """Optimizer steps of a machine alone since it last sent what it learnt; None in gradient
    averaging."""
    exchanging: bool = False
    """A round runs."""
    bytes_sent: int = 0
    """To other peers since the trainers started, as is ``bytes_received``."""
    bytes_received: int = 0
    training_seconds: float = 0.0
    """Since the trainers started, without pauses."""
    waiting_seconds: float = 0.0
    """The part of ``training_seconds`` in which nothing was computed because of the swarm."""
    last_round: Round | None = None
    failed_rounds: int = 0
    """How many rounds failed one after the other, up to the last one."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint."""
    warnings: tuple[TrainerWarning, ...] = ()
    """What is wrong although training goes on, the newest last."""
    parts: tuple[TrainerPart, ...] = ()
    """Each trainer, in the order of the devices."""

    @property
    def computing(self) -> float | None:
        """The part of the time in which the swarm let us compute, 0 to 1; None in the first
        seconds."""
        if self.training_seconds < LEAST_SECONDS:
            return None
        return max(0.0, 1.0 - self.waiting_seconds / self.training_seconds)


@dataclass(frozen=True, kw_only=True)
class ContributorState:
    """Everything that a front end shows, apart from the charts' history and the log.

    Times are seconds since the epoch.
    """

    phase: Phase = Phase.DISCONNECTED
    problem: Problem | None = None
    """What is wrong, until it is solved or the user has read it."""
    step_of_preparation: TrainerPhase | None = None
    """What the trainer does while the phase is PREPARING."""
    waiting: Waiting | None = None
    """Whom the trainer waits for before its first step."""
    download: StateDownload | FileDownload | None = None
    """How far the swarm's state or a file of the spec has arrived, while the trainer downloads
    it."""
    swarm: Swarm | None = None
    """None outside of a swarm, and where we are a node of the network without a run."""
    returning: Returning | None = None
    """None unless the app goes back to the swarm of its last run."""
    access: Access = field(default_factory=Access)
    """Whether we may train in the swarm."""
    peer_id: str = ""
    """The embedded peer's; empty outside of a swarm."""
    addresses: tuple[str, ...] = ()
    """Multiaddrs at which others reach the embedded peer."""
    peers: tuple[PeerInfo, ...] = ()
    """The peers that the embedded peer is connected to."""
    reconnect_at: float | None = None
    """When the lost swarm is looked for again; None while it is not lost."""
    dht_nodes: int = 0
    """Nodes in the embedded peer's routing table, connected or not."""
    run: Run | None = None
    """The run's progress; None until something is known of it."""
    snapshot: DoorSnapshot | None = None
    """None where this machine is no door that makes snapshots."""
    training: OwnTraining | None = None
    """None while there is no trainer."""
    faults: MemberFaults = field(default_factory=MemberFaults)
    """Kept when training ends, forgotten with the swarm."""
    evaluation: Evaluation | None = None
    """The newest one; it, the best one and the samples are kept when training ends, and on the disk
    when the swarm is left."""
    best_evaluation: Evaluation | None = None
    """The one with the lowest loss."""
    samples: tuple[GeneratedSample, ...] = ()
    """Of the newest evaluated epochs, the newest last."""
    probed: protocol.Devices | None = None
    """The devices that torch can train on; None until it was asked."""
    device: str = "auto"
    """Id of the first device to train on."""
    other_devices: tuple[str, ...] = ()
    """Ids of further devices to train on."""
    restart_at: float | None = None
    """When a trainer that ended unexpectedly is started again; None: not by itself."""
    completed: bool = False
    """The last training reached the run's stop condition."""
    local_api: LocalApi | None = None
    """None while the local API is not served."""
    commanded: LabDeed | None = None
    """What the lab's admin commanded last; None where nothing was since the app began."""
    release: Release | None = None
    """A later version of the app, if one was found."""
    reporting: ReportingState = field(default_factory=ReportingState)
    terms: Terms = field(default_factory=Terms)
    """The volunteer's terms at the time of the verdict."""
    verdict: Verdict = field(default_factory=Verdict)
    """Whether the terms allow training now, and at which share of the time."""
    lifted_until: float | None = None
    """Until when the user lets this machine train in spite of some terms; None: not at all."""
    paused_by_user: bool = False
    paused_until: float | None = None
    """When the user's pause ends by itself; None: when the user ends it."""

    @property
    def reads_files(self) -> bool:
        """The files for the swarm's slots are read, and no trainer was started yet."""
        return self.phase is Phase.PREPARING and self.training is None

    @property
    def trains_or_will(self) -> bool:
        """A trainer runs, or will start without the user: after a failure, or by the terms."""
        waiting = self.phase is Phase.WAITING or self.restart_at is not None
        return self.phase.has_trainer or waiting

    @property
    def may_train(self) -> bool:
        """Neither the user nor their terms want training to pause, and the swarm admits us."""
        return self.verdict.allows and not self.paused_by_user and self.access.admitted

    @property
    def paused_by(self) -> tuple[str, ...]:
        """What keeps a started training from running: ``user``, ``roster`` (a closed swarm
        doesn't admit us), and names of terms."""
        if self.phase not in (Phase.PAUSED, Phase.WAITING):
            return ()
        user = ("user",) if self.paused_by_user else ()
        roster = () if self.access.admitted else ("roster",)
        return (*user, *roster, *(reason.term for reason in self.verdict.reasons))

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that torch can train on; empty until it was asked."""
        return self.probed.devices if self.probed is not None else ()

    @property
    def chosen_devices(self) -> tuple[str, ...]:
        """Ids of all devices to train on, ``device`` first."""
        return self.device, *self.other_devices

    def devices_of(self, ready: Ready) -> tuple[Device, ...]:
        """All devices that train once the trainers are ready; one that isn't known has no more than
        a name."""
        known = {each.id: each for each in self.devices}
        ids = self.chosen_devices if self.other_devices else (ready.device,)
        unknown = Device(id=ready.device, name=ready.device_name, memory=0)
        return tuple(known.get(each, unknown) for each in ids)
