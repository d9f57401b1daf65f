"""How each event changes the state: one table from event type to pure function.

`after` looks up an event's type in ``_TRANSITIONS``, at the end of this file. What a trainer
reports changes the state only while there is a trainer: a late report of one that is gone is
ignored.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from app import protocol
from app.p2p.sightings import Run
from app.protocol import TrainerPhase
from app.state.events import (
    AccessChanged,
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
from app.state.facts import Access, MemberFault, MemberFaults, Problem, Swarm
from app.state.state import ContributorState, OwnTraining, Phase, Round

E = TypeVar("E")

Transition = Callable[[ContributorState, Any], ContributorState]


def after(state: ContributorState, event: Event) -> ContributorState:
    """The state that follows an event. Pure."""
    return _TRANSITIONS[type(event)](state, event)


def _ignored(state: ContributorState, _event: Event) -> ContributorState:
    return state


# --- the swarm


def _join_began(state: ContributorState, event: JoinBegan) -> ContributorState:
    return replace(state, phase=Phase.JOINING, swarm=event.swarm, access=Access(), problem=None)


def _joined(state: ContributorState, event: Joined) -> ContributorState:
    phase = Phase.WATCHING if state.phase is Phase.JOINING else state.phase
    return replace(state, phase=phase, peer_id=event.peer_id, addresses=event.addresses)


def _access_changed(state: ContributorState, event: AccessChanged) -> ContributorState:
    return replace(state, access=event.access)


def _join_failed(state: ContributorState, event: JoinFailed) -> ContributorState:
    return replace(state, phase=Phase.DISCONNECTED, problem=event.problem)


def _left(state: ContributorState, _event: Left) -> ContributorState:
    """Forget all that was the swarm's; the rest is kept."""
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


def _connection_changed(state: ContributorState, event: ConnectionChanged) -> ContributorState:
    return replace(state, reconnect_at=event.reconnect_at)


def _peers_listed(state: ContributorState, event: PeersListed) -> ContributorState:
    return replace(state, peers=event.peers, dht_nodes=event.dht_nodes)


def _run_observed(state: ContributorState, event: RunObserved) -> ContributorState:
    """Take the run from the DHT's records; our own trainer's figures are fresher than those."""
    seen = event.run
    if seen is None:
        return replace(state, run=None)
    if state.phase in (Phase.TRAINING, Phase.AVERAGING) and state.run is not None:
        run = replace(
            state.run,
            loss=seen.loss,
            samples_per_second=seen.samples_per_second,
            trainer_ids=seen.trainer_ids,
        )
    else:
        run = replace(seen, eta=_eta(seen, state.swarm))
    return replace(state, run=run)


def _eta(run: Run, swarm: Swarm | None) -> float | None:
    """Seconds until the target batch is full at today's rate; None where that isn't known."""
    if swarm is None or not run.samples_per_second:
        return None
    return max(0, swarm.target_batch_size - run.samples) / run.samples_per_second


# --- devices, problems, what else the app knows


def _devices_probed(state: ContributorState, event: protocol.Devices) -> ContributorState:
    return replace(state, probed=event)


def _device_chosen(state: ContributorState, event: DeviceChosen) -> ContributorState:
    return replace(state, device=event.device, other_devices=event.others)


def _local_api_changed(state: ContributorState, event: LocalApiChanged) -> ContributorState:
    return replace(state, local_api=event.local_api)


def _release_found(state: ContributorState, event: ReleaseFound) -> ContributorState:
    return replace(state, release=event.release)


def _reporting_changed(state: ContributorState, event: ReportingChanged) -> ContributorState:
    return replace(state, reporting=event.reporting)


def _problem_raised(state: ContributorState, event: ProblemRaised) -> ContributorState:
    return replace(state, problem=event.problem)


def _problem_dismissed(state: ContributorState, _event: ProblemDismissed) -> ContributorState:
    return replace(state, problem=None)


# --- terms and pauses


def _terms_judged(state: ContributorState, event: TermsJudged) -> ContributorState:
    return replace(state, terms=event.terms, verdict=event.verdict)


def _pause_chosen(state: ContributorState, event: PauseChosen) -> ContributorState:
    if not state.trains_or_will:
        return state
    return replace(state, paused_by_user=True, paused_until=event.until)


def _pause_ended(state: ContributorState, _event: PauseEnded) -> ContributorState:
    return _without_pause(state)


def _without_pause(state: ContributorState) -> ContributorState:
    return replace(state, paused_by_user=False, paused_until=None)


# --- starting and ending training


def _training_awaited(state: ContributorState, _event: TrainingAwaited) -> ContributorState:
    return replace(state, phase=Phase.WAITING, problem=None, restart_at=None, completed=False)


def _training_requested(state: ContributorState, event: TrainingRequested) -> ContributorState:
    return replace(
        state,
        phase=Phase.PREPARING,
        problem=None,
        training=OwnTraining(device=event.device),
        restart_at=None,
        completed=False,
    )


def _prepared(state: ContributorState) -> ContributorState:
    """Nothing is prepared any more."""
    return replace(state, step_of_preparation=None, waiting=None, download=None)


def _stop_requested(state: ContributorState, _event: StopRequested) -> ContributorState:
    if state.phase is Phase.WAITING:
        return _without_pause(replace(state, phase=Phase.WATCHING))
    if state.phase.has_trainer:
        return replace(_prepared(state), phase=Phase.STOPPING)
    return state


def _trainer_gone(state: ContributorState, event: TrainerGone) -> ContributorState:
    rest = replace(_prepared(state), training=None, completed=event.completed)
    if not state.phase.has_trainer:
        return rest
    if event.problem is None:
        return _without_pause(replace(rest, phase=Phase.WATCHING))
    failed = replace(rest, phase=Phase.FAILED, problem=event.problem, restart_at=event.restart_at)
    return failed if failed.trains_or_will else _without_pause(failed)


def _restart_cancelled(state: ContributorState, _event: RestartCancelled) -> ContributorState:
    return _without_pause(replace(state, restart_at=None))


# --- what a trainer reports


def _by_trainer(transition: Callable[[ContributorState, E], ContributorState]) -> Transition:
    """The same transition, but only while there is a trainer."""

    def guarded(state: ContributorState, event: E) -> ContributorState:
        if state.training is None or not state.phase.has_trainer:
            return state
        return transition(state, event)

    return guarded


def _in_training(change: Callable[[OwnTraining, E], OwnTraining]) -> Transition:
    """A change of our own training alone, while there is a trainer."""

    def transition(state: ContributorState, event: E) -> ContributorState:
        assert state.training is not None
        return replace(state, training=change(state.training, event))

    return _by_trainer(transition)


_PHASES = {
    TrainerPhase.TRAINING: Phase.TRAINING,
    TrainerPhase.AVERAGING: Phase.AVERAGING,
    TrainerPhase.PAUSED: Phase.PAUSED,
    TrainerPhase.STOPPING: Phase.STOPPING,
}
"""The trainer's phases that are ours as well; all others are steps of the preparation."""


def _phase_changed(state: ContributorState, event: protocol.PhaseChanged) -> ContributorState:
    if state.phase is Phase.STOPPING:
        return state
    return replace(
        _prepared(state),
        phase=_PHASES.get(event.phase, Phase.PREPARING),
        step_of_preparation=None if event.phase in _PHASES else event.phase,
    )


def _waits_for_others(state: ContributorState, event: protocol.Waiting) -> ContributorState:
    return replace(state, waiting=event) if state.phase is Phase.PREPARING else state


def _downloads_state(state: ContributorState, event: protocol.StateDownload) -> ContributorState:
    return replace(state, download=event) if state.phase is Phase.PREPARING else state


def _trainer_problem(state: ContributorState, event: protocol.TrainerProblem) -> ContributorState:
    problem = Problem(message=event.message, field=event.field, remedy=event.remedy)
    return replace(state, problem=problem)


MOST_FAULTS = 100
"""Pairs of peer and fault that are kept: anybody may come with a new peer id each minute."""


def _member_at_fault(state: ContributorState, event: protocol.MemberAtFault) -> ContributorState:
    before = state.faults
    pair = (event.peer_id, event.fault)
    count = sum(each.count for each in before.last if (each.peer_id, each.fault) == pair)
    newest = MemberFault(
        peer_id=event.peer_id,
        fault=event.fault,
        count=count + 1,
        epoch=event.epoch,
        time=event.time,
        evicted_until=event.evicted_until,
    )
    others = [each for each in before.last if (each.peer_id, each.fault) != pair]
    faults = MemberFaults(
        last=(*others, newest)[-MOST_FAULTS:],
        totals=tuple((fault, seen + (fault is event.fault)) for fault, seen in before.totals),
    )
    return replace(state, faults=faults)


def _ready(own: OwnTraining, event: protocol.Ready) -> OwnTraining:
    return replace(
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


def _micro_batch_halved(own: OwnTraining, event: protocol.MicroBatchHalved) -> OwnTraining:
    return replace(own, micro_batch_size=event.micro_batch_size, short_of_memory=True)


def _parts_changed(own: OwnTraining, event: PartsChanged) -> OwnTraining:
    return replace(own, parts=event.parts)


def _round_ended(own: OwnTraining, event: protocol.RoundEnded) -> OwnTraining:
    ended = Round(
        epoch=event.epoch, peers=event.peers, seconds=event.seconds, failure=event.failure
    )
    return replace(own, last_round=ended)


def _checkpoint_saved(own: OwnTraining, event: protocol.CheckpointSaved) -> OwnTraining:
    return replace(own, checkpoint_epoch=event.epoch)


def _progress(state: ContributorState, event: protocol.Progress) -> ContributorState:
    """Progress tells of our training and of the run; the run's loss and rate are not in it."""
    assert state.training is not None
    own = replace(
        state.training,
        step=event.step,
        epoch=event.epoch,
        loss=state.training.loss if event.loss is None else event.loss,
        samples_per_second=event.samples_per_second,
        tokens_per_second=event.tokens_per_second,
        samples=event.samples,
        tokens=event.tokens,
        compute_seconds=event.compute_seconds,
        epoch_samples=event.epoch_samples,
    )
    run = replace(
        state.run or Run(),
        epoch=event.epoch,
        samples=event.swarm_samples,
        trainers=event.peers,
        eta=event.eta,
    )
    return replace(state, training=own, run=run)


# --- the table

_TRANSITIONS: dict[type, Transition] = {
    JoinBegan: _join_began,
    Joined: _joined,
    JoinFailed: _join_failed,
    AccessChanged: _access_changed,
    Left: _left,
    ConnectionChanged: _connection_changed,
    PeersListed: _peers_listed,
    RunObserved: _run_observed,
    protocol.Devices: _devices_probed,
    DeviceChosen: _device_chosen,
    LocalApiChanged: _local_api_changed,
    ReleaseFound: _release_found,
    ReportingChanged: _reporting_changed,
    ProblemRaised: _problem_raised,
    ProblemDismissed: _problem_dismissed,
    TermsJudged: _terms_judged,
    PauseChosen: _pause_chosen,
    PauseEnded: _pause_ended,
    TrainingAwaited: _training_awaited,
    TrainingRequested: _training_requested,
    StopRequested: _stop_requested,
    TrainerGone: _trainer_gone,
    RestartCancelled: _restart_cancelled,
    protocol.PhaseChanged: _by_trainer(_phase_changed),
    protocol.Waiting: _by_trainer(_waits_for_others),
    protocol.StateDownload: _by_trainer(_downloads_state),
    protocol.TrainerProblem: _by_trainer(_trainer_problem),
    protocol.MemberAtFault: _by_trainer(_member_at_fault),
    protocol.Progress: _by_trainer(_progress),
    protocol.Ready: _in_training(_ready),
    protocol.MicroBatchHalved: _in_training(_micro_batch_halved),
    PartsChanged: _in_training(_parts_changed),
    protocol.RoundEnded: _in_training(_round_ended),
    protocol.CheckpointSaved: _in_training(_checkpoint_saved),
    protocol.Work: _ignored,  # counted by app.contributions.recorder
    **dict.fromkeys(
        (protocol.Hello, protocol.Ack, protocol.SampleDiscarded, protocol.Ended), _ignored
    ),
}
