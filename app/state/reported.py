"""How each report of a trainer changes the state: the part of `transition`'s table for them.

What a trainer reports changes the state only while there is a trainer: a late report of one that
is gone is ignored.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from app import protocol
from app.evaluation_messages import Evaluated, SampleGenerated
from app.p2p.sightings import Run
from app.protocol import TrainerPhase
from app.state.events import PartsChanged
from app.state.facts import Evaluation, GeneratedSample, MemberFault, MemberFaults, Problem
from app.state.state import ContributorState, OwnTraining, Phase, Round

E = TypeVar("E")

Transition = Callable[[ContributorState, Any], ContributorState]
"""From a state and an event to the state after it."""


def prepared(state: ContributorState) -> ContributorState:
    """Nothing is prepared any more."""
    return replace(state, step_of_preparation=None, waiting=None, download=None)


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
        prepared(state),
        phase=_PHASES.get(event.phase, Phase.PREPARING),
        step_of_preparation=None if event.phase in _PHASES else event.phase,
    )


def _waits_for_others(state: ContributorState, event: protocol.Waiting) -> ContributorState:
    return replace(state, waiting=event) if state.phase is Phase.PREPARING else state


def _downloads(
    state: ContributorState, event: protocol.StateDownload | protocol.FileDownload
) -> ContributorState:
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


def _evaluated(state: ContributorState, event: Evaluated) -> ContributorState:
    newest = Evaluation(
        epoch=event.epoch,
        loss=event.loss,
        bits_per_byte=event.bits_per_byte,
        time=event.time,
        tokens=event.tokens,
    )
    best = newest if newest.beats(state.best_evaluation) else state.best_evaluation
    return replace(state, evaluation=newest, best_evaluation=best)


MOST_SAMPLES = 400
"""Generated samples that are kept: of 50 epochs or more, since a run has 8 prompts at most."""


def _sample_generated(state: ContributorState, event: SampleGenerated) -> ContributorState:
    """A later sample takes the place of one of the same epoch and prompt: after a restart from a
    checkpoint, an epoch is evaluated again."""
    sample = GeneratedSample(
        epoch=event.epoch, prompt=event.prompt, text=event.text, time=event.time
    )
    others = tuple(
        each for each in state.samples if (each.epoch, each.prompt) != (sample.epoch, sample.prompt)
    )
    return replace(state, samples=(*others, sample)[-MOST_SAMPLES:])


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
        snapshot_epoch=event.snapshot_epoch,
    )


def _micro_batch_halved(own: OwnTraining, event: protocol.MicroBatchHalved) -> OwnTraining:
    return replace(own, micro_batch_size=event.micro_batch_size, short_of_memory=True)


def _parts_changed(own: OwnTraining, event: PartsChanged) -> OwnTraining:
    return replace(own, parts=event.parts)


def _round_ended(own: OwnTraining, event: protocol.RoundEnded) -> OwnTraining:
    ended = Round(
        epoch=event.epoch,
        peers=event.peers,
        seconds=event.seconds,
        failure=event.failure,
        samples=event.samples,
        arrived=event.arrived,
        bytes_sent=event.bytes_sent,
    )
    failed = own.failed_rounds + 1 if event.failure else 0
    return replace(own, last_round=ended, failed_rounds=failed)


def _worked(own: OwnTraining, event: protocol.Work) -> OwnTraining:
    return replace(
        own,
        bytes_sent=event.bytes_sent,
        bytes_received=event.bytes_received,
        training_seconds=event.training_seconds,
        waiting_seconds=event.waiting_seconds,
    )


def _checkpoint_saved(own: OwnTraining, event: protocol.CheckpointSaved) -> OwnTraining:
    return replace(own, checkpoint_epoch=event.epoch)


def _warned(own: OwnTraining, event: protocol.TrainerWarning) -> OwnTraining:
    others = tuple(each for each in own.warnings if each.topic != event.topic)
    return replace(own, warnings=(*others, event) if event.message else others)


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
        own_steps=event.own_steps,
        exchanging=event.exchanging,
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

REPORTED: dict[type, Transition] = {
    protocol.PhaseChanged: _by_trainer(_phase_changed),
    protocol.Waiting: _by_trainer(_waits_for_others),
    protocol.StateDownload: _by_trainer(_downloads),
    protocol.FileDownload: _by_trainer(_downloads),
    protocol.TrainerProblem: _by_trainer(_trainer_problem),
    protocol.MemberAtFault: _by_trainer(_member_at_fault),
    Evaluated: _by_trainer(_evaluated),
    SampleGenerated: _by_trainer(_sample_generated),
    protocol.Progress: _by_trainer(_progress),
    protocol.Ready: _in_training(_ready),
    protocol.MicroBatchHalved: _in_training(_micro_batch_halved),
    PartsChanged: _in_training(_parts_changed),
    protocol.RoundEnded: _in_training(_round_ended),
    protocol.Work: _in_training(_worked),  # counted by app.contributions.recorder
    protocol.CheckpointSaved: _in_training(_checkpoint_saved),
    protocol.TrainerWarning: _in_training(_warned),
}
