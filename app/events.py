"""What happens to a contributor, besides what its trainer reports, and what that is about."""

from dataclasses import dataclass

from app import protocol
from app.local_api import LocalApiChanged
from app.release import ReleaseFound


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something to show until it is mended; parts as in `UserFacingError`."""

    message: str
    field: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """The swarm we are in, or about to join: from its spec. session_id, training_id: the
    backend's numbers, None where it doesn't offer the swarm."""

    run_id: str
    title: str
    model_type: str
    dataset: str
    target_batch_size: int
    session_id: int | None = None
    training_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PeerInfo:
    """A peer that the embedded node is connected to. last_seen: when we last saw that it is,
    seconds since the epoch. relayed: by way of another peer. latency: seconds there and back,
    None where not measured, or where the peer is no node of the DHT and so can't be asked."""

    peer_id: str
    address: str
    last_seen: float = 0.0
    relayed: bool = False
    latency: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """The swarm's training. samples: gathered for the epoch under way; trainers: peers that
    train, trainer_ids: which; samples_per_second: all of them together; loss: mean cross-entropy
    per token over them; eta: seconds until the target batch is full. None where not known."""

    epoch: int = 0
    samples: int = 0
    trainers: int = 0
    trainer_ids: frozenset[str] = frozenset()
    samples_per_second: float | None = None
    loss: float | None = None
    eta: float | None = None


# --- events


@dataclass(frozen=True, kw_only=True)
class JoinBegan:
    """The embedded peer starts to enter a swarm, or only the network."""

    swarm: Swarm | None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The embedded peer is in the swarm."""

    peer_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JoinFailed:
    """The embedded peer could not enter."""

    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Left:
    """The embedded peer left the swarm."""


@dataclass(frozen=True, kw_only=True)
class PeersListed:
    """The embedded peer looked who it is connected to. dht_nodes: in its routing table."""

    peers: tuple[PeerInfo, ...]
    dht_nodes: int = 0


@dataclass(frozen=True, kw_only=True)
class RunObserved:
    """The embedded peer read the run's records in the DHT; None when there are none."""

    run: Run | None


@dataclass(frozen=True, kw_only=True)
class DeviceChosen:
    """The user (or a setting) chose where to train."""

    device: str


@dataclass(frozen=True, kw_only=True)
class TrainingRequested:
    """A trainer is being started."""

    device: str


@dataclass(frozen=True, kw_only=True)
class StopRequested:
    """The trainer is being stopped."""


@dataclass(frozen=True, kw_only=True)
class TrainerGone:
    """The trainer process ended. problem: why, when nobody asked for it; completed: the spec's
    stop condition is reached; restart_at: when it is started again by itself, if it is."""

    problem: Problem | None = None
    completed: bool = False
    restart_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class RestartCancelled:
    """The trainer that ended unexpectedly is not started again by itself."""


@dataclass(frozen=True, kw_only=True)
class ProblemRaised:
    """An action was refused; training and swarm are as they were."""

    problem: Problem


@dataclass(frozen=True, kw_only=True)
class ProblemDismissed:
    """The user has read it."""


Event = (
    protocol.Report
    | JoinBegan
    | Joined
    | JoinFailed
    | Left
    | PeersListed
    | RunObserved
    | DeviceChosen
    | TrainingRequested
    | StopRequested
    | TrainerGone
    | RestartCancelled
    | LocalApiChanged
    | ReleaseFound
    | ProblemRaised
    | ProblemDismissed
)
