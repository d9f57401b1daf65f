"""How each event changes the state: one table from event type to pure function.

`after` looks up an event's type in ``_TRANSITIONS``, at the end of this file; `app.state.reported`
has its part for what a trainer reports.
"""

from dataclasses import replace

from app import protocol
from app.p2p.sightings import PeerInfo, Run
from app.state.events import (
    AccessChanged,
    ConnectionChanged,
    DeviceChosen,
    EvaluationsRestored,
    Event,
    JoinBegan,
    Joined,
    JoinFailed,
    LabCommanded,
    Left,
    LocalApiChanged,
    PauseChosen,
    PauseEnded,
    PeersListed,
    ProblemDismissed,
    ProblemRaised,
    ReadingBegan,
    ReadingEnded,
    ReleaseFound,
    ReportingChanged,
    RestartCancelled,
    RestartPostponed,
    ReturnChanged,
    RunObserved,
    SnapshotChanged,
    StopRequested,
    TermsJudged,
    TermsLifted,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Access, Swarm
from app.state.reported import MOST_SAMPLES, REPORTED, Transition, prepared
from app.state.state import ContributorState, OwnTraining, Phase


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
    """We are in no swarm, so nothing of one is shown."""
    return replace(
        state, phase=Phase.DISCONNECTED, swarm=None, access=Access(), problem=event.problem
    )


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
        returning=state.returning,
    )


def _evaluations_restored(state: ContributorState, event: EvaluationsRestored) -> ContributorState:
    """What a trainer has reported meanwhile is newer."""
    if state.swarm is None or state.swarm.run_id != event.run_id:
        return state
    kept, best = event.evaluations, state.best_evaluation
    meanwhile = {(each.epoch, each.prompt) for each in state.samples}
    earlier = tuple(each for each in kept.samples if (each.epoch, each.prompt) not in meanwhile)
    return replace(
        state,
        evaluation=state.evaluation or kept.newest,
        best_evaluation=kept.best if best is None or not best.beats(kept.best) else best,
        samples=(*earlier, *state.samples)[-MOST_SAMPLES:],
    )


def _return_changed(state: ContributorState, event: ReturnChanged) -> ContributorState:
    return replace(state, returning=event.returning)


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
            held_out_loss=seen.held_out_loss,
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


def _snapshot_changed(state: ContributorState, event: SnapshotChanged) -> ContributorState:
    return replace(state, snapshot=event.snapshot)


def _device_chosen(state: ContributorState, event: DeviceChosen) -> ContributorState:
    return replace(state, device=event.device, other_devices=event.others)


def _local_api_changed(state: ContributorState, event: LocalApiChanged) -> ContributorState:
    return replace(state, local_api=event.local_api)


def _lab_commanded(state: ContributorState, event: LabCommanded) -> ContributorState:
    return replace(state, commanded=event.deed)


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


def _terms_lifted(state: ContributorState, event: TermsLifted) -> ContributorState:
    return replace(state, lifted_until=event.until)


def _pause_chosen(state: ContributorState, event: PauseChosen) -> ContributorState:
    if not state.trains_or_will:
        return state
    return replace(state, paused_by_user=True, paused_until=event.until)


def _pause_ended(state: ContributorState, _event: PauseEnded) -> ContributorState:
    return _without_pause(state)


def _without_pause(state: ContributorState) -> ContributorState:
    return replace(state, paused_by_user=False, paused_until=None)


# --- starting and ending training


def _reading_began(state: ContributorState, _event: ReadingBegan) -> ContributorState:
    return replace(
        state,
        phase=Phase.PREPARING,
        problem=None,
        training=None,
        restart_at=None,
        completed=False,
    )


def _reading_ended(state: ContributorState, _event: ReadingEnded) -> ContributorState:
    return _without_pause(replace(state, phase=Phase.WATCHING)) if state.reads_files else state


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


def _stop_requested(state: ContributorState, _event: StopRequested) -> ContributorState:
    if state.phase is Phase.WAITING or state.reads_files:
        return _without_pause(replace(state, phase=Phase.WATCHING))
    if state.phase.has_trainer:
        return replace(prepared(state), phase=Phase.STOPPING)
    return state


def _trainer_gone(state: ContributorState, event: TrainerGone) -> ContributorState:
    rest = replace(
        prepared(state),
        training=None,
        completed=event.completed,
        peers=_without_trainers(state.peers, state.training),
    )
    if not state.phase.has_trainer:
        return rest
    if event.problem is None:
        return _without_pause(replace(rest, phase=Phase.WATCHING))
    failed = replace(rest, phase=Phase.FAILED, problem=event.problem, restart_at=event.restart_at)
    return failed if failed.trains_or_will else _without_pause(failed)


def _without_trainers(peers: tuple[PeerInfo, ...], own: OwnTraining | None) -> tuple[PeerInfo, ...]:
    """Those that are not our own trainers: nobody can be reached by one that is gone."""
    ours = set() if own is None else {own.peer_id, *(part.peer_id for part in own.parts)}
    return tuple(peer for peer in peers if peer.peer_id not in ours)


def _restart_postponed(state: ContributorState, event: RestartPostponed) -> ContributorState:
    if not (state.restart_at or state.phase is Phase.WAITING or state.reads_files):
        return state  # it was cancelled meanwhile
    problem = event.problem or state.problem
    return replace(state, phase=Phase.FAILED, restart_at=event.restart_at, problem=problem)


def _restart_cancelled(state: ContributorState, _event: RestartCancelled) -> ContributorState:
    return _without_pause(replace(state, restart_at=None))


# --- the table

_TRANSITIONS: dict[type, Transition] = {
    JoinBegan: _join_began,
    Joined: _joined,
    JoinFailed: _join_failed,
    AccessChanged: _access_changed,
    Left: _left,
    EvaluationsRestored: _evaluations_restored,
    ReturnChanged: _return_changed,
    ConnectionChanged: _connection_changed,
    PeersListed: _peers_listed,
    RunObserved: _run_observed,
    SnapshotChanged: _snapshot_changed,
    protocol.Devices: _devices_probed,
    DeviceChosen: _device_chosen,
    LocalApiChanged: _local_api_changed,
    LabCommanded: _lab_commanded,
    ReleaseFound: _release_found,
    ReportingChanged: _reporting_changed,
    ProblemRaised: _problem_raised,
    ProblemDismissed: _problem_dismissed,
    TermsJudged: _terms_judged,
    TermsLifted: _terms_lifted,
    PauseChosen: _pause_chosen,
    PauseEnded: _pause_ended,
    TrainingAwaited: _training_awaited,
    ReadingBegan: _reading_began,
    ReadingEnded: _reading_ended,
    TrainingRequested: _training_requested,
    StopRequested: _stop_requested,
    TrainerGone: _trainer_gone,
    RestartPostponed: _restart_postponed,
    RestartCancelled: _restart_cancelled,
    **REPORTED,
    **dict.fromkeys(
        (protocol.Hello, protocol.Ack, protocol.SampleDiscarded, protocol.Ended), _ignored
    ),
}
