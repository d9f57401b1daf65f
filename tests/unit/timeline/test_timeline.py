"""The timeline: which events are lines in it, and what they say."""

from dataclasses import replace
from typing import Any

import pytest

from app import protocol
from app.protocol import TrainerPhase
from app.state.events import (
    ConnectionChanged,
    JoinBegan,
    Joined,
    JoinFailed,
    Left,
    PauseChosen,
    PauseEnded,
    PeersListed,
    StopRequested,
    TermsJudged,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState
from app.state.transition import after
from app.terms.terms import Reason, Terms, Verdict
from app.timeline.timeline import MOST, HappeningKind, Timeline

SWARM = Swarm(
    run_id="poems", title="Poems", model_type="gpt2", dataset="builtin", target_batch_size=64
)
JOIN = (JoinBegan(swarm=SWARM), Joined(peer_id="Qm", addresses=()))
TRAIN = (
    TrainingRequested(device="cpu"),
    protocol.PhaseChanged(phase=TrainerPhase.TRAINING),
)
HOT = Verdict(reasons=(Reason(term="max_temperature", text="The device is at 90 °C."),))


def ended(failure: str = "") -> protocol.RoundEnded:
    return protocol.RoundEnded(epoch=7, peers=2, seconds=1.0, samples=0, failure=failure)


def said(phase: TrainerPhase) -> protocol.PhaseChanged:
    return protocol.PhaseChanged(phase=phase)


def lines(*events: Any) -> list[tuple[str, str]]:
    timeline, state = Timeline(lambda: 5.0), ContributorState()
    for event in events:
        state = after(state, event)
        timeline.note(event, state)
    return [(each.kind.value, each.detail) for each in timeline.last]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (JOIN, [("joined", "Poems")]),
        ((*JOIN, JOIN[1]), [("joined", "Poems")]),  # its addresses have changed
        ((*JOIN, Left()), [("joined", "Poems"), ("left", "Poems")]),
        (
            (JOIN[0], JoinFailed(problem=Problem(message="nobody is there."))),
            [("join-failed", "nobody is there.")],
        ),
        (
            (*JOIN, *(ConnectionChanged(reconnect_at=at) for at in (9.0, 20.0, None, None))),
            [("joined", "Poems"), ("lost", ""), ("found", "")],
        ),
        ((*JOIN, PeersListed(peers=())), [("joined", "Poems")]),
    ],
)
def test_the_swarm(events: tuple[Any, ...], found: list[tuple[str, str]]) -> None:
    assert lines(*events) == found


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((), []),
        ((ended(),), []),
        ((ended("no group"),), [("round-failed", "epoch 7: no group")]),
        ((StopRequested(), TrainerGone()), [("stopped", "")]),
        ((TrainerGone(completed=True),), [("completed", "")]),
        (
            (TrainerGone(problem=Problem(message="signal 9."), restart_at=9.0), *TRAIN),
            [("crashed", "signal 9."), ("started", "")],
        ),
        (
            (PauseChosen(), said(TrainerPhase.PAUSED), PauseEnded(), said(TrainerPhase.TRAINING)),
            [("paused", ""), ("resumed", "")],
        ),
        (
            (TermsJudged(terms=Terms(), verdict=HOT), said(TrainerPhase.PAUSED)),
            [("paused", "The device is at 90 °C.")],
        ),
        ((said(TrainerPhase.AVERAGING), said(TrainerPhase.TRAINING)), []),
    ],
)
def test_training(events: tuple[Any, ...], found: list[tuple[str, str]]) -> None:
    begun = [("joined", "Poems"), ("started", "")]
    assert lines(*JOIN, *TRAIN, *events) == [*begun, *found]


def test_training_that_waits_for_the_terms_rests() -> None:
    held = TermsJudged(terms=Terms(), verdict=HOT)
    found = lines(*JOIN, held, TrainingAwaited(), *TRAIN)
    assert [kind for kind, _detail in found] == ["joined", "paused", "started"]


def test_it_says_from_which_checkpoint_training_began() -> None:
    state = ContributorState()
    for event in (*JOIN, TRAIN[0]):
        state = after(state, event)
    assert state.training is not None
    state = replace(state, training=replace(state.training, resumed_epoch=12))
    timeline = Timeline()
    timeline.note(TRAIN[0], state)
    timeline.note(TRAIN[1], after(state, TRAIN[1]))
    assert timeline.last[-1].detail == "from its checkpoint of epoch 12"


def test_the_newest_are_kept_and_the_earlier_come_before_them() -> None:
    timeline = Timeline()
    for number in range(MOST + 5):
        timeline.add(HappeningKind.CRASHED, str(number))
    assert [timeline.last[0].detail, timeline.last[-1].detail] == ["5", str(MOST + 4)]
    later = Timeline()
    later.add(HappeningKind.OPENED)
    later.restore(timeline.last)
    assert len(later.last) == MOST
    assert later.last[-1].kind is HappeningKind.OPENED
    assert later.count == 1
