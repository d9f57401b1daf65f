"""What the app knows, as one frozen value; only `app.state.transition.after` changes it."""

from dataclasses import dataclass, field
from enum import StrEnum

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.protocol import Device, TrainerPhase, Waiting
from app.state.facts import LocalApi, Problem, Release, ReportingState, Swarm, TrainerPart
from app.terms.terms import Terms, Verdict


class Phase(StrEnum):
    """Where we are, in one word."""

    DISCONNECTED = "disconnected"
    JOINING = "joining"
    WATCHING = "watching"  # in the swarm, not training
    WAITING = "waiting"  # to be started when the volunteer's terms allow it
    PREPARING = "preparing"
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    STOPPING = "stopping"
    FAILED = "failed"  # training ended by itself, and someone must act

    @property
    def has_trainer(self) -> bool:
        """A trainer process is there, or about to be."""
        return self in _WITH_TRAINER


_WITH_TRAINER = frozenset(
    {Phase.PREPARING, Phase.TRAINING, Phase.AVERAGING, Phase.PAUSED, Phase.STOPPING}
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """How an averaging round went. peers: group size, 1 when alone; seconds blocked in it."""

    epoch: int
    peers: int
    seconds: float
    failure: str


@dataclass(frozen=True, kw_only=True)
class OwnTraining:
    """Our own training: of one trainer, or of several together, each of which is one of parts.
    device, peer_id, precision: of the first; addresses: of its peer; loss: cross-entropy per
    token; epoch_samples: ours in this epoch; short_of_memory: a micro-batch had to be made
    smaller."""

    device: str
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    device_name: str = ""
    precision: str = ""
    parameters: int | None = None
    micro_batch_size: int | None = None
    compiled: bool = False
    short_of_memory: bool = False
    resumed_epoch: int | None = None
    step: int = 0
    epoch: int = 0
    loss: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    samples: int = 0
    tokens: int = 0
    compute_seconds: float = 0.0
    epoch_samples: int = 0
    last_round: Round | None = None
    checkpoint_epoch: int | None = None
    parts: tuple[TrainerPart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ContributorState:
    """Everything that a front end shows, apart from the charts' history and the log.

    step_of_preparation: what PREPARING is about just now. waiting: for whom, while the trainer
    waits for others before its first step. probed: what torch can train on, None until it was
    asked. device: id of the chosen one; other_devices: of further ones, which train as well.
    dht_nodes: that the embedded peer knows to ask, connected or not. restart_at: when a trainer
    that ended unexpectedly is started again; reconnect_at: when a swarm that is lost is looked for
    again; seconds since the epoch. completed: the run's stop condition was reached. swarm: None as
    well while we are only a node of the network, in no run. local_api: None while nothing is
    served. release: a version later than this one. reporting: to the backend. terms, verdict: the
    volunteer's, and what they say now. paused_by_user: until they resume it, or until
    paused_until, in seconds since the epoch.
    """

    phase: Phase = Phase.DISCONNECTED
    problem: Problem | None = None
    step_of_preparation: TrainerPhase | None = None
    waiting: Waiting | None = None
    swarm: Swarm | None = None
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    peers: tuple[PeerInfo, ...] = ()
    reconnect_at: float | None = None
    dht_nodes: int = 0
    run: Run | None = None
    training: OwnTraining | None = None
    probed: protocol.Devices | None = None
    device: str = "auto"
    other_devices: tuple[str, ...] = ()
    restart_at: float | None = None
    completed: bool = False
    local_api: LocalApi | None = None
    release: Release | None = None
    reporting: ReportingState = field(default_factory=ReportingState)
    terms: Terms = field(default_factory=Terms)
    verdict: Verdict = field(default_factory=Verdict)
    paused_by_user: bool = False
    paused_until: float | None = None

    @property
    def trains_or_will(self) -> bool:
        """A trainer is there, or is started by itself: after a failure, or when terms allow it."""
        waiting = self.phase is Phase.WAITING or self.restart_at is not None
        return self.phase.has_trainer or waiting

    @property
    def may_train(self) -> bool:
        """Neither the user nor their terms want training to rest."""
        return self.verdict.allows and not self.paused_by_user

    @property
    def paused_by(self) -> tuple[str, ...]:
        """What keeps us from training though it was started: ``user``, and names of terms."""
        if self.phase not in (Phase.PAUSED, Phase.WAITING):
            return ()
        user = ("user",) if self.paused_by_user else ()
        return (*user, *(reason.term for reason in self.verdict.reasons))

    @property
    def devices(self) -> tuple[Device, ...]:
        """Those that torch can train on; none until it was asked."""
        return self.probed.devices if self.probed is not None else ()

    @property
    def chosen_devices(self) -> tuple[str, ...]:
        """Those that are to train, the first one first."""
        return self.device, *self.other_devices
