"""What happens to a contributor, besides what its trainers report (`app.protocol`)."""

from dataclasses import dataclass

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.state.facts import (
    Access,
    DoorSnapshot,
    LabDeed,
    LocalApi,
    Problem,
    Release,
    ReportingState,
    Returning,
    RunEvaluations,
    Swarm,
    TrainerPart,
)
from app.terms.terms import Terms, Verdict


@dataclass(frozen=True, kw_only=True)
class JoinBegan:
    """The embedded peer starts to enter a swarm."""

    swarm: Swarm | None
    """None where it enters a network without joining a run."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The embedded peer is in the swarm. Dispatched again when its addresses change."""

    peer_id: str
    addresses: tuple[str, ...]
    """Multiaddrs at which others reach it."""


@dataclass(frozen=True, kw_only=True)
class JoinFailed:
    """The embedded peer could not enter the swarm."""

    problem: Problem


@dataclass(frozen=True, kw_only=True)
class AccessChanged:
    """The roster of the swarm, or which of our devices train, has changed."""

    access: Access


@dataclass(frozen=True, kw_only=True)
class Left:
    """The embedded peer left the swarm."""


@dataclass(frozen=True, kw_only=True)
class EvaluationsRestored:
    """What was kept of a run that is joined again."""

    run_id: str
    evaluations: RunEvaluations


@dataclass(frozen=True, kw_only=True)
class ReturnChanged:
    """The app goes back to the swarm of its last run, waits to try again, or is done with it."""

    returning: Returning | None


@dataclass(frozen=True, kw_only=True)
class ConnectionChanged:
    """The embedded peer has lost the swarm, or has found it again."""

    reconnect_at: float | None
    """When it tries to reconnect next, in seconds since the epoch; None once it is connected."""


@dataclass(frozen=True, kw_only=True)
class PeersListed:
    """The embedded peer listed its connections."""

    peers: tuple[PeerInfo, ...]
    dht_nodes: int = 0
    """Nodes in its routing table."""


@dataclass(frozen=True, kw_only=True)
class RunObserved:
    """The embedded peer read the run's records in the DHT."""

    run: Run | None
    """None when there are no records."""


@dataclass(frozen=True, kw_only=True)
class SnapshotChanged:
    """A door keeps another snapshot of the run, or can't make one."""

    snapshot: DoorSnapshot


@dataclass(frozen=True, kw_only=True)
class DeviceChosen:
    """The user, or a setting, chose the devices to train on."""

    device: str
    """Id of the first one, such as ``cuda:0``."""
    others: tuple[str, ...] = ()
    """Ids of further devices; each gets a trainer of its own."""


@dataclass(frozen=True, kw_only=True)
class ReadingBegan:
    """The files for the swarm's slots are read, and trainers are started after it."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequested:
    """Trainers are being started."""

    device: str
    """The first trainer's."""


@dataclass(frozen=True, kw_only=True)
class PartsChanged:
    """A trainer's device, speed or batch size changed."""

    parts: tuple[TrainerPart, ...]
    """One for each device, in the order of the devices."""


@dataclass(frozen=True, kw_only=True)
class TrainingAwaited:
    """Training starts as soon as the volunteer's terms allow it."""


@dataclass(frozen=True, kw_only=True)
class TermsJudged:
    """The governor compared the terms with the machine's condition."""

    terms: Terms
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class TermsLifted:
    """The user lets this machine train although some terms forbid it, or this is over."""

    until: float | None
    """In seconds since the epoch; None: it is over."""


@dataclass(frozen=True, kw_only=True)
class PauseChosen:
    """The user pauses training."""

    until: float | None = None
    """When it resumes by itself, in seconds since the epoch; None: when the user resumes it."""


@dataclass(frozen=True, kw_only=True)
class PauseEnded:
    """The user's pause is over."""


@dataclass(frozen=True, kw_only=True)
class StopRequested:
    """The trainers are being stopped, or are no longer to be started."""


@dataclass(frozen=True, kw_only=True)
class TrainerGone:
    """The trainers' processes have ended."""

    problem: Problem | None = None
    """Why, when nobody asked for it."""
    completed: bool = False
    """The spec's stop condition was reached."""
    restart_at: float | None = None
    """When they are started again by themselves, in seconds since the epoch; None: not at all."""


@dataclass(frozen=True, kw_only=True)
class ReadingEnded:
    """The files for the swarm's slots are read no longer, and no training follows. Nobody has
    stopped it: a file is wrong, or whoever wanted it waits no longer."""


@dataclass(frozen=True, kw_only=True)
class RestartPostponed:
    """Training that begins by itself couldn't begin yet; it will be tried again."""

    restart_at: float
    """When, in seconds since the epoch."""
    problem: Problem | None = None
    """What is in the way; None leaves what is shown."""


@dataclass(frozen=True, kw_only=True)
class RestartCancelled:
    """Trainers that ended unexpectedly will not be started again by themselves."""


@dataclass(frozen=True, kw_only=True)
class ProblemRaised:
    """An action was refused; swarm and training are as they were."""

    problem: Problem


@dataclass(frozen=True, kw_only=True)
class ProblemDismissed:
    """The user has read the problem."""


@dataclass(frozen=True, kw_only=True)
class LocalApiChanged:
    """The local API began or ceased to be served."""

    local_api: LocalApi | None
    """None: it is no longer served."""


@dataclass(frozen=True, kw_only=True)
class LabCommanded:
    """A command of the lab's admin was carried out, refused, or has failed."""

    deed: LabDeed


@dataclass(frozen=True, kw_only=True)
class ReleaseFound:
    """A later version of the app was published."""

    release: Release


@dataclass(frozen=True, kw_only=True)
class ReportingChanged:
    """Reporting to the backend changed its status."""

    reporting: ReportingState


Event = (
    protocol.Report
    | JoinBegan
    | Joined
    | JoinFailed
    | AccessChanged
    | Left
    | EvaluationsRestored
    | ReturnChanged
    | ConnectionChanged
    | PeersListed
    | RunObserved
    | SnapshotChanged
    | DeviceChosen
    | ReadingBegan
    | ReadingEnded
    | TrainingRequested
    | TrainingAwaited
    | TermsJudged
    | TermsLifted
    | PauseChosen
    | PauseEnded
    | PartsChanged
    | StopRequested
    | TrainerGone
    | RestartPostponed
    | RestartCancelled
    | LocalApiChanged
    | LabCommanded
    | ReportingChanged
    | ReleaseFound
    | ProblemRaised
    | ProblemDismissed
)
