"""What happens to a contributor, besides what its trainer reports, and what that is about."""

from dataclasses import dataclass

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.state.facts import LocalApi, Problem, Release, ReportingState, Swarm, TrainerPart
from app.terms.terms import Terms, Verdict

# --- events


@dataclass(frozen=True, kw_only=True)
class JoinBegan:
    """The embedded peer starts to enter a swarm, or only the network."""

    swarm: Swarm | None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The embedded peer is in the swarm; again when it is reached at other addresses."""

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
class ConnectionChanged:
    """The embedded peer has lost the swarm, or found it again. reconnect_at: when it looks for it
    next, seconds since the epoch; None when it is found."""

    reconnect_at: float | None


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
    """The user (or a setting) chose where to train. others: further devices, each with a trainer
    of its own."""

    device: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainingRequested:
    """Trainers are being started, the first on ``device``."""

    device: str


@dataclass(frozen=True, kw_only=True)
class PartsChanged:
    """Something of our trainers is another, in the order of their devices."""

    parts: tuple[TrainerPart, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingAwaited:
    """A trainer is started as soon as the volunteer's terms allow it."""


@dataclass(frozen=True, kw_only=True)
class TermsJudged:
    """The terms were held against what this machine is like now."""

    terms: Terms
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class PauseChosen:
    """The user pauses training. until: when it goes on by itself, in seconds since the epoch;
    None: when they resume it."""

    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class PauseEnded:
    """The user's pause is over."""


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


@dataclass(frozen=True, kw_only=True)
class LocalApiChanged:
    """The local API is served, or, with None, no longer."""

    local_api: LocalApi | None


@dataclass(frozen=True, kw_only=True)
class ReleaseFound:
    """There is a later version."""

    release: Release


@dataclass(frozen=True, kw_only=True)
class ReportingChanged:
    """Reporting stands otherwise than it did."""

    reporting: ReportingState


Event = (
    protocol.Report
    | JoinBegan
    | Joined
    | JoinFailed
    | Left
    | ConnectionChanged
    | PeersListed
    | RunObserved
    | DeviceChosen
    | TrainingRequested
    | TrainingAwaited
    | TermsJudged
    | PauseChosen
    | PauseEnded
    | PartsChanged
    | StopRequested
    | TrainerGone
    | RestartCancelled
    | LocalApiChanged
    | ReportingChanged
    | ReleaseFound
    | ProblemRaised
    | ProblemDismissed
)
