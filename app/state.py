"""What the app knows, as one frozen value, and the one pure function that changes it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from app import protocol
from app.events import (
    ConnectionChanged,
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    Part,
    PartsChanged,
    PauseChosen,
    PauseEnded,
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
    TermsJudged,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.limits import Terms, Verdict
from app.local_api import LocalApi, LocalApiChanged
from app.protocol import Device, TrainerPhase, Waiting
from app.reporting_state import ReportingChanged, ReportingState

__all__ = [
    "ConnectionChanged",
    "ContributorState",
    "DeviceChosen",
    "Event",
    "JoinBegan",
    "JoinFailed",
    "Joined",
    "Left",
    "Part",
    "PartsChanged",
    "PauseChosen",
    "PauseEnded",
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
    "TermsJudged",
    "TrainerGone",
    "Training",
    "TrainingAwaited",
    "TrainingRequested",
    "after",
]


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
class Training:
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
    parts: tuple[Part, ...] = ()


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
    served. reporting: to the backend. terms, verdict: the volunteer's, and what they say now.
    paused_by_user: until they resume it, or until paused_until, in seconds since the epoch.
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
    training: Training | None = None
    probed: protocol.Devices | None = None
    device: str = "auto"
    other_devices: tuple[str, ...] = ()
    restart_at: float | None = None
    completed: bool = False
    local_api: LocalApi | None = None
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
                probed=state.probed,
                device=state.device,
                other_devices=state.other_devices,
                local_api=state.local_api,
                terms=state.terms,
                verdict=state.verdict,
                reporting=state.reporting,
            )
        case PeersListed() | ConnectionChanged():
            return replace(state, **vars(event))  # their fields are the state's
        case RunObserved(run=run):
            return replace(state, run=_observed(state, run))
        case _:
            return _after_notice(state, event)


def _after_notice(state: ContributorState, event: Event) -> ContributorState:
    match event:
        case protocol.Devices():
            return replace(state, probed=event)
        case DeviceChosen(device=device, others=others):
            return replace(state, device=device, other_devices=others)
        case LocalApiChanged(local_api=local_api):
            return replace(state, local_api=local_api)
        case ReportingChanged(reporting=reporting):
            return replace(state, reporting=reporting)
        case ProblemRaised(problem=problem):
            return replace(state, problem=problem)
        case ProblemDismissed():
            return replace(state, problem=None)
        case _:
            return _after_terms(state, event)


def _after_terms(state: ContributorState, event: Event) -> ContributorState:
    match event:
        case TermsJudged(terms=terms, verdict=verdict):
            return replace(state, terms=terms, verdict=verdict)
        case TrainingAwaited():
            return replace(
                state, phase=Phase.WAITING, problem=None, restart_at=None, completed=False
            )
        case PauseChosen(until=until) if state.trains_or_will:
            return replace(state, paused_by_user=True, paused_until=until)
        case PauseEnded():
            return _without_pause(state)
        case StopRequested() if state.phase is Phase.WAITING:
            return _without_pause(replace(state, phase=Phase.WATCHING))
        case _:
            return _after_training(state, event)


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
            return replace(state, phase=Phase.STOPPING, step_of_preparation=None, waiting=None)
        case TrainerGone():
            return _without_trainer(state, event)
        case RestartCancelled():
            return _without_pause(replace(state, restart_at=None))
        case _ if state.training is None or not state.phase.has_trainer:
            return state  # a late word of a trainer that is gone
        case protocol.PhaseChanged(phase=phase):
            return _in_trainer_phase(state, phase)
        case Waiting() if state.phase is Phase.PREPARING:
            return replace(state, waiting=event)
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
                compiled=event.compiled,
                resumed_epoch=event.resumed_epoch,
            )
        case protocol.MicroBatchHalved(micro_batch_size=size):
            own = replace(own, micro_batch_size=size, short_of_memory=True)
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
        case PartsChanged(parts=parts):
            own = replace(own, parts=parts)
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
    return replace(
        state, phase=_PHASES.get(phase, Phase.PREPARING), step_of_preparation=step, waiting=None
    )


def _without_trainer(state: ContributorState, gone: TrainerGone) -> ContributorState:
    rest = replace(
        state, training=None, step_of_preparation=None, waiting=None, completed=gone.completed
    )
    if not state.phase.has_trainer:
        return rest
    if gone.problem is None:
        return _without_pause(replace(rest, phase=Phase.WATCHING))
    failed = replace(rest, phase=Phase.FAILED, problem=gone.problem, restart_at=gone.restart_at)
    return failed if failed.trains_or_will else _without_pause(failed)


def _without_pause(state: ContributorState) -> ContributorState:
    return replace(state, paused_by_user=False, paused_until=None)


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
    if run is None:
        return None
    if state.phase in (Phase.TRAINING, Phase.AVERAGING) and state.run is not None:
        return replace(
            state.run,
            loss=run.loss,
            samples_per_second=run.samples_per_second,
            trainer_ids=run.trainer_ids,
        )
    return replace(run, eta=_eta(run, state.swarm))


def _eta(run: Run, swarm: Swarm | None) -> float | None:
    """Seconds until the target batch is full, if all go on as they do."""
    if swarm is None or not run.samples_per_second:
        return None
    return max(0, swarm.target_batch_size - run.samples) / run.samples_per_second
