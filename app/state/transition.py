"""The one pure function that changes what the app knows: `after` an event."""

from dataclasses import replace

from app import protocol
from app.p2p.sightings import Run
from app.protocol import TrainerPhase, Waiting
from app.state.events import (
    ConnectionChanged,
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    LocalApiChanged,
    PartsChanged,
    PauseChosen,
    PauseEnded,
    PeersListed,
    ProblemDismissed,
    ProblemRaised,
    ReleaseFound,
    ReportingChanged,
    RestartCancelled,
    RunObserved,
    StopRequested,
    TermsJudged,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState, OwnTraining, Phase, Round


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
                release=state.release,
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
        case ReleaseFound(release=release):
            return replace(state, release=release)
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
                training=OwnTraining(device=device),
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
        case protocol.TrainerProblem(message=message, field=field, remedy=remedy):
            return replace(state, problem=Problem(message=message, field=field, remedy=remedy))
        case _:
            return _after_report(state, state.training, event)


def _after_report(state: ContributorState, own: OwnTraining, event: Event) -> ContributorState:
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
