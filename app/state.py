"""What the app knows, as one frozen value, and the one pure function that changes it."""

from dataclasses import dataclass, replace
from enum import StrEnum

from app import protocol
from app.events import (
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    PeerInfo,
    PeersListed,
    Problem,
    ProblemDismissed,
    ProblemRaised,
    RestartCancelled,
    Run,
    RunObserved,
    StopRequested,
    Swarm,
    TrainerGone,
    TrainingRequested,
)
from app.local_api import LocalApi, LocalApiChanged
from app.protocol import Device, TrainerPhase
from app.release import Release, ReleaseFound

__all__ = [
    "ContributorState",
    "DeviceChosen",
    "Event",
    "JoinBegan",
    "JoinFailed",
    "Joined",
    "Left",
    "PeerInfo",
    "PeersListed",
    "Phase",
    "Problem",
    "ProblemDismissed",
    "ProblemRaised",
    "RestartCancelled",
    "Round",
    "Run",
    "RunObserved",
    "StopRequested",
    "Swarm",
    "TrainerGone",
    "Training",
    "TrainingRequested",
    "after",
]


class Phase(StrEnum):
    """Where we are, in one word."""

    DISCONNECTED = "disconnected"
    JOINING = "joining"
    WATCHING = "watching"  # in the swarm, not training
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
class Training:
    """Our own trainer. peer_id, addresses: of its peer; loss: cross-entropy per token;
    epoch_samples: ours in this epoch."""

    device: str
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    device_name: str = ""
    precision: str = ""
    parameters: int | None = None
    micro_batch_size: int | None = None
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


@dataclass(frozen=True, kw_only=True)
class ContributorState:
    """Everything that a front end shows, apart from the charts' history and the log.

    step_of_preparation: what PREPARING is about just now. devices: empty until probed, which
    `devices_known` tells apart from "none". device: id of the chosen one. dht_nodes: that the
    embedded peer knows to ask, connected or not. restart_at: when a
    trainer that ended unexpectedly is started again, seconds since the epoch. completed: the
    run's stop condition was reached. swarm: None as well while we are only a node of the
    network, in no run. local_api: None while nothing is served. release: a version
    later than this one.
    """

    phase: Phase = Phase.DISCONNECTED
    problem: Problem | None = None
    step_of_preparation: TrainerPhase | None = None
    swarm: Swarm | None = None
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    peers: tuple[PeerInfo, ...] = ()
    dht_nodes: int = 0
    run: Run | None = None
    training: Training | None = None
    devices: tuple[Device, ...] = ()
    devices_known: bool = False
    device: str = "auto"
    restart_at: float | None = None
    completed: bool = False
    local_api: LocalApi | None = None
    release: Release | None = None


def after(state: ContributorState, event: Event) -> ContributorState:
    """The state that follows an event. Pure."""
    match event:
        case JoinBegan(swarm=swarm):
            return replace(state, phase=Phase.JOINING, swarm=swarm, problem=None)
        case Joined(peer_id=peer_id, addresses=addresses):
            phase = Phase.WATCHING if state.phase is Phase.JOINING else state.phase
            return replace(state, phase=phase, peer_id=peer_id, addresses=addresses)
        case JoinFailed(problem=problem):
            return replace(state, phase=Phase.DISCONNECTED, problem=problem)
        case Left():
            return ContributorState(
                devices=state.devices,
                devices_known=state.devices_known,
                device=state.device,
                local_api=state.local_api,
                release=state.release,
            )
        case PeersListed(peers=peers, dht_nodes=dht_nodes):
            return replace(state, peers=peers, dht_nodes=dht_nodes)
        case RunObserved(run=run):
            return replace(state, run=_observed(state, run))
        case protocol.Devices(devices=devices):
            return replace(state, devices=devices, devices_known=True)
        case DeviceChosen(device=device):
            return replace(state, device=device)
        case LocalApiChanged() | ReleaseFound():
            return _with_news(state, event)
        case ProblemRaised(problem=problem):
            return replace(state, problem=problem)
        case ProblemDismissed():
            return replace(state, problem=None)
        case _:
            return _after_training(state, event)


def _with_news(state: ContributorState, event: LocalApiChanged | ReleaseFound) -> ContributorState:
    """What is told of this app itself."""
    if isinstance(event, ReleaseFound):
        return replace(state, release=event.release)
    return replace(state, local_api=event.local_api)


def _after_training(state: ContributorState, event: Event) -> ContributorState:
    match event:
        case TrainingRequested(device=device):
            return replace(
                state,
                phase=Phase.PREPARING,
                problem=None,
                training=Training(device=device),
                restart_at=None,
                completed=False,
            )
        case StopRequested() if state.phase.has_trainer:
            return replace(state, phase=Phase.STOPPING, step_of_preparation=None)
        case TrainerGone():
            return _without_trainer(state, event)
        case RestartCancelled():
            return replace(state, restart_at=None)
        case _ if state.training is None or not state.phase.has_trainer:
            return state  # a late word of a trainer that is gone
        case protocol.PhaseChanged(phase=phase):
            return _in_trainer_phase(state, phase)
        case protocol.Problem(message=message, field=field, remedy=remedy):
            return replace(state, problem=Problem(message=message, field=field, remedy=remedy))
        case _:
            return _after_report(state, state.training, event)


def _after_report(state: ContributorState, own: Training, event: Event) -> ContributorState:
    match event:
        case protocol.Ready():
            own = replace(
                own,
                peer_id=event.peer_id,
                addresses=event.addresses,
                device_name=event.device_name,
                precision=event.precision,
                parameters=event.parameters,
                micro_batch_size=event.micro_batch_size,
                resumed_epoch=event.resumed_epoch,
            )
        case protocol.Progress():
            own = replace(
                own,
                step=event.step,
                epoch=event.epoch,
                loss=own.loss if event.loss is None else event.loss,
                samples_per_second=event.samples_per_second,
                tokens_per_second=event.tokens_per_second,
                samples=event.samples,
                tokens=event.tokens,
                compute_seconds=event.compute_seconds,
                epoch_samples=event.epoch_samples,
            )
            state = replace(state, run=_run_of(state.run, event))
        case protocol.RoundEnded():
            own = replace(
                own,
                last_round=Round(
                    epoch=event.epoch,
                    peers=event.peers,
                    seconds=event.seconds,
                    failure=event.failure,
                ),
            )
        case protocol.CheckpointSaved(epoch=epoch):
            own = replace(own, checkpoint_epoch=epoch)
        case _:
            return state
    return replace(state, training=own)


_PHASES = {
    TrainerPhase.TRAINING: Phase.TRAINING,
    TrainerPhase.AVERAGING: Phase.AVERAGING,
    TrainerPhase.PAUSED: Phase.PAUSED,
    TrainerPhase.STOPPING: Phase.STOPPING,
}


def _in_trainer_phase(state: ContributorState, phase: TrainerPhase) -> ContributorState:
    if state.phase is Phase.STOPPING:
        return state
    step = None if phase in _PHASES else phase
    return replace(state, phase=_PHASES.get(phase, Phase.PREPARING), step_of_preparation=step)


def _without_trainer(state: ContributorState, gone: TrainerGone) -> ContributorState:
    rest = replace(state, training=None, step_of_preparation=None, completed=gone.completed)
    if not state.phase.has_trainer:
        return rest
    if gone.problem is not None:
        return replace(rest, phase=Phase.FAILED, problem=gone.problem, restart_at=gone.restart_at)
    return replace(rest, phase=Phase.WATCHING)


def _run_of(run: Run | None, progress: protocol.Progress) -> Run:
    """Our trainer's view of the run, fresher than the DHT's; loss and rate are not in it."""
    return replace(
        run or Run(),
        epoch=progress.epoch,
        samples=progress.swarm_samples,
        trainers=progress.peers,
        eta=progress.eta,
    )


def _observed(state: ContributorState, run: Run | None) -> Run | None:
    reporting = state.phase in (Phase.TRAINING, Phase.AVERAGING) and state.run is not None
    if run is not None and reporting and state.run is not None:
        return replace(
            state.run,
            loss=run.loss,
            samples_per_second=run.samples_per_second,
            trainer_ids=run.trainer_ids,
        )
    return run
