"""What the app knows: one frozen value, changed by one pure function."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import protocol
from app.p2p.sightings import PartFault, PeerInfo, Run
from app.protocol import EndReason, TrainerPhase
from app.state import state, transition
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
    PartsChanged,
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
from app.state.facts import (
    Access,
    DoorSnapshot,
    Evaluation,
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
from app.state.reported import MOST_SAMPLES
from app.state.state import ContributorState, OwnTraining, Phase, Round
from app.state.transition import after
from app.terms.terms import Reason, Terms, Verdict

SWARM = Swarm(run_id="run", title="Run", model_type="gpt2", dataset="builtin", target_batch_size=64)
PROBLEM = Problem(message="is wrong.", field="seed", remedy="Mend it.")
BARRED = Access(closed=True, admitted=False, code="Qm")
RETURNING = Returning(title="Poems", retry_at=9.0, reason="nobody is there.")
DEVICES = (protocol.Device(id="cpu", name="CPU", memory=0),)
PROBED = protocol.Devices(devices=DEVICES, torch_version="2")
JOINED = Joined(peer_id="Qm", addresses=("/ip4/127.0.0.1/tcp/1/p2p/Qm",))
READY = protocol.Ready(
    peer_id="QmTrainer",
    addresses=(),
    device="cuda:0",
    device_name="H100",
    precision="bf16",
    parameters=800_000,
    micro_batch_size=8,
    resumed_epoch=2,
)


def progress(**changes: Any) -> protocol.Progress:
    values: dict[str, Any] = {
        "step": 5,
        "epoch": 3,
        "loss": 2.5,
        "samples_per_second": 10.0,
        "tokens_per_second": 320.0,
        "samples": 40,
        "tokens": 1280,
        "compute_seconds": 4.0,
        "epoch_samples": 16,
        "swarm_samples": 48,
        "target_batch_size": 64,
        "eta": 1.5,
        "peers": 2,
    }
    return protocol.Progress(**values | changes)


ONE_OF_TWO_DOORS = protocol.Waiting(whom="doors", seen=1, known=2)
A_PART_OF_A_FILE = protocol.FileDownload(what="weights", received=50, size=100, seconds_left=2.0)
HALF_OF_THE_STATE = protocol.StateDownload(received=50, size=100, seconds_left=2.0, problem="")


def says(phase: TrainerPhase) -> protocol.PhaseChanged:
    return protocol.PhaseChanged(phase=phase)


def follow(*events: Event, start: ContributorState | None = None) -> ContributorState:
    now = start or ContributorState()
    for event in events:
        now = after(now, event)
    return now


WATCHING = follow(JoinBegan(swarm=SWARM), JOINED)
PREPARING = follow(TrainingRequested(device="cuda:0"), start=WATCHING)
TRAINING = follow(says(TrainerPhase.TRAINING), start=PREPARING)
FAILED = follow(TrainerGone(problem=PROBLEM, restart_at=9.0), start=TRAINING)

HELD = Verdict(reasons=(Reason(term="mains_only", text="The computer runs on battery."),))
WAITING = follow(TermsJudged(terms=Terms(), verdict=HELD), TrainingAwaited(), start=WATCHING)

RELEASE = Release(version="9.1", url="https://cotrain.example")
LOCAL_API = LocalApi(url="http://127.0.0.1:8001", port=8001, wanted_port=8000)

DEED = LabDeed(command="stop", lab="AbCd…", verdict="done", text="", number=1)
REPORTING = ReportingState(backend_url="https://b.example", signed_in_as="you@example.org")

# At least one sample of every event; those of which two differ in effect, twice.
EVENTS: tuple[Event, ...] = (
    JoinBegan(swarm=SWARM),
    JOINED,
    JoinFailed(problem=PROBLEM),
    AccessChanged(access=BARRED),
    Left(),
    EvaluationsRestored(run_id="poems", evaluations=RunEvaluations()),
    ReturnChanged(returning=RETURNING),
    ConnectionChanged(reconnect_at=9.0),
    ConnectionChanged(reconnect_at=None),
    PeersListed(peers=(PeerInfo(peer_id="Qm", address="/ip4/127.0.0.1"),)),
    RunObserved(run=Run(epoch=1, samples=2, trainers=3, loss=4.0)),
    RunObserved(run=None),
    SnapshotChanged(snapshot=DoorSnapshot(epoch=40, size=2**20)),
    DeviceChosen(device="cuda:0", others=("cuda:1",)),
    ReadingBegan(),
    ReadingEnded(),
    TrainingRequested(device="cpu"),
    TrainingAwaited(),
    TermsJudged(terms=Terms(), verdict=HELD),
    TermsLifted(until=9.0),
    PauseChosen(until=9.0),
    PauseEnded(),
    StopRequested(),
    TrainerGone(),
    TrainerGone(completed=True),
    TrainerGone(problem=PROBLEM),
    TrainerGone(problem=PROBLEM, restart_at=9.0),
    RestartPostponed(restart_at=12.0),
    RestartPostponed(restart_at=12.0, problem=PROBLEM),
    RestartCancelled(),
    LocalApiChanged(local_api=LOCAL_API),
    LabCommanded(deed=DEED),
    ReportingChanged(reporting=REPORTING),
    ReleaseFound(release=RELEASE),
    ProblemRaised(problem=PROBLEM),
    ProblemDismissed(),
    protocol.Hello(version=1, pid=1),
    protocol.Ack(id=1),
    *(says(phase) for phase in TrainerPhase),
    ONE_OF_TWO_DOORS,
    HALF_OF_THE_STATE,
    A_PART_OF_A_FILE,
    READY,
    PartsChanged(parts=(TrainerPart(device="cuda:0"), TrainerPart(device="cuda:1"))),
    protocol.MicroBatchHalved(micro_batch_size=4),
    progress(),
    progress(loss=None, samples_per_second=None),
    protocol.Work(samples_computed=8, samples_pending=8),
    protocol.RoundEnded(epoch=1, peers=2, seconds=0.5, samples=8, failure=""),
    protocol.SampleDiscarded(epoch=1, samples=8, reason="not finite"),
    protocol.Evaluated(epoch=4, loss=2.5, bits_per_byte=1.75, tokens=4096, seconds=0.5, time=5.0),
    protocol.SampleGenerated(epoch=4, prompt="def", text=" f(x):", time=5.0),
    protocol.CheckpointSaved(epoch=4, seconds=0.5),
    protocol.TrainerWarning(topic="checkpoint", message="The disk is full."),
    protocol.MemberAtFault(peer_id="Qm", fault=PartFault.SILENT, epoch=1, time=5.0),
    protocol.TrainerProblem(message="is wrong."),
    PROBED,
    protocol.Ended(reason=EndReason.STOPPED),
)
TRAINERS_WORDS = tuple(
    each
    for each in EVENTS
    if isinstance(each, protocol.Message) and not isinstance(each, protocol.Devices)
)


def test_there_is_a_sample_of_every_event() -> None:
    assert {type(each) for each in EVENTS} == set(get_args(Event))


def test_every_event_has_its_place_in_the_table() -> None:
    assert set(transition._TRANSITIONS) == set(get_args(Event))


# --- the swarm -----------------------------------------------------------------------------------


def test_at_first_we_are_nowhere() -> None:
    assert ContributorState().phase is Phase.DISCONNECTED


def test_joining_names_the_swarm() -> None:
    now = follow(JoinBegan(swarm=SWARM))
    assert (now.phase, now.swarm) == (Phase.JOINING, SWARM)


def test_joined_peer_watches() -> None:
    assert (WATCHING.phase, WATCHING.peer_id) == (Phase.WATCHING, "Qm")
    assert WATCHING.addresses == JOINED.addresses


def test_failed_join_says_why() -> None:
    now = follow(JoinBegan(swarm=SWARM), JoinFailed(problem=PROBLEM))
    assert (now.phase, now.problem, now.swarm) == (Phase.DISCONNECTED, PROBLEM, None)


def test_the_way_back_is_kept_over_joins_that_fail() -> None:
    way = ReturnChanged(returning=RETURNING)
    now = follow(way, JoinBegan(swarm=SWARM), JoinFailed(problem=PROBLEM), Left())
    assert now.returning == RETURNING
    assert after(now, ReturnChanged(returning=None)).returning is None


def test_a_closed_swarm_holds_training_back_until_it_admits_us() -> None:
    now = follow(JoinBegan(swarm=SWARM), AccessChanged(access=BARRED), JOINED, TrainingAwaited())
    assert (now.may_train, now.paused_by) == (False, ("roster",))
    now = after(now, AccessChanged(access=Access(closed=True)))
    assert (now.may_train, now.paused_by) == (True, ())


def test_another_swarm_knows_nothing_of_the_closed_one() -> None:
    now = follow(JoinBegan(swarm=SWARM), AccessChanged(access=BARRED), JOINED, Left())
    assert now.may_train
    now = follow(AccessChanged(access=BARRED), JoinBegan(swarm=SWARM))
    assert now.may_train


def test_new_join_forgets_the_problem() -> None:
    now = follow(
        JoinBegan(swarm=SWARM), JoinFailed(problem=PROBLEM), JoinBegan(swarm=SWARM), JOINED
    )
    assert (now.phase, now.problem) == (Phase.WATCHING, None)


@pytest.mark.parametrize("before", [TRAINING, FAILED], ids=lambda before: before.phase)
def test_joining_again_leaves_training_as_it_is(before: ContributorState) -> None:
    again = Joined(peer_id="Qm", addresses=("/ip4/127.0.0.1/tcp/2/p2p/Qm",))
    assert after(before, again) == replace(before, addresses=again.addresses)


def test_network_without_a_run_is_watched_too() -> None:
    now = follow(JoinBegan(swarm=None), JOINED)
    assert (now.phase, now.swarm, now.peer_id) == (Phase.WATCHING, None, "Qm")


def test_leaving_forgets_all_but_what_is_no_swarms() -> None:
    now = follow(
        LocalApiChanged(local_api=LOCAL_API),
        ReleaseFound(release=RELEASE),
        PROBED,
        DeviceChosen(device="cpu", others=("mps",)),
        ReportingChanged(reporting=REPORTING),
        RunObserved(run=Run(epoch=1)),
        Left(),
        start=WATCHING,
    )
    assert now == ContributorState(
        probed=PROBED,
        device="cpu",
        other_devices=("mps",),
        local_api=LOCAL_API,
        release=RELEASE,
        reporting=REPORTING,
    )
    assert now.chosen_devices == ("cpu", "mps")
    assert now.devices == DEVICES


def test_no_devices_are_not_the_same_as_unknown_devices() -> None:
    none = follow(protocol.Devices(devices=(), torch_version=""))
    assert (ContributorState().probed is None, none.probed is None) == (True, False)
    assert ContributorState().devices == none.devices == ()


# --- training ------------------------------------------------------------------------------------


def test_requested_training_prepares() -> None:
    assert PREPARING.phase is Phase.PREPARING
    assert PREPARING.training == OwnTraining(device="cuda:0")


@pytest.mark.parametrize(
    ("said", "phase", "step"),
    [
        (TrainerPhase.LOADING, Phase.PREPARING, TrainerPhase.LOADING),
        (TrainerPhase.PREPARING_DATA, Phase.PREPARING, TrainerPhase.PREPARING_DATA),
        (TrainerPhase.PREPARING_MODEL, Phase.PREPARING, TrainerPhase.PREPARING_MODEL),
        (TrainerPhase.JOINING, Phase.PREPARING, TrainerPhase.JOINING),
        (TrainerPhase.SYNCHRONIZING, Phase.PREPARING, TrainerPhase.SYNCHRONIZING),
        (TrainerPhase.TRAINING, Phase.TRAINING, None),
        (TrainerPhase.AVERAGING, Phase.AVERAGING, None),
        (TrainerPhase.PAUSED, Phase.PAUSED, None),
        (TrainerPhase.STOPPING, Phase.STOPPING, None),
    ],
)
def test_trainers_phase_is_ours(
    said: TrainerPhase, phase: Phase, step: TrainerPhase | None
) -> None:
    now = follow(says(TrainerPhase.LOADING), says(said), start=PREPARING)
    assert (now.phase, now.step_of_preparation) == (phase, step)


def test_every_phase_of_the_trainer_keeps_it() -> None:
    phases = {follow(says(phase), start=PREPARING).phase for phase in TrainerPhase}
    assert all(phase.has_trainer for phase in phases)


def test_training_paused_resumed_stopped_ends_in_watching() -> None:
    phases = []
    now = TRAINING
    for event in (
        says(TrainerPhase.PAUSED),
        says(TrainerPhase.TRAINING),
        StopRequested(),
        TrainerGone(),
    ):
        now = after(now, event)
        phases.append(now.phase)
    assert phases == [Phase.PAUSED, Phase.TRAINING, Phase.STOPPING, Phase.WATCHING]
    assert (now.training, now.problem, now.completed) == (None, None, False)


@pytest.mark.parametrize("said", TrainerPhase)
def test_while_stopping_the_trainers_phase_changes_nothing(said: TrainerPhase) -> None:
    stopping = follow(StopRequested(), start=TRAINING)
    assert after(stopping, says(said)) is stopping


def test_stop_in_preparation_ends_the_preparation() -> None:
    now = follow(says(TrainerPhase.LOADING), ONE_OF_TWO_DOORS, StopRequested(), start=PREPARING)
    assert (now.phase, now.step_of_preparation, now.waiting) == (Phase.STOPPING, None, None)


def test_it_waits_for_others_until_the_trainer_does_something_else() -> None:
    waiting = follow(says(TrainerPhase.JOINING), ONE_OF_TWO_DOORS, start=PREPARING)
    assert waiting.waiting == ONE_OF_TWO_DOORS
    assert after(waiting, says(TrainerPhase.SYNCHRONIZING)).waiting is None
    assert after(waiting, TrainerGone()).waiting is None


@pytest.mark.parametrize("arrives", [HALF_OF_THE_STATE, A_PART_OF_A_FILE])
def test_something_arrives_until_the_trainer_does_something_else(
    arrives: protocol.StateDownload | protocol.FileDownload,
) -> None:
    loading = follow(says(TrainerPhase.SYNCHRONIZING), arrives, start=PREPARING)
    assert loading.download == arrives
    for event in (says(TrainerPhase.TRAINING), StopRequested(), TrainerGone()):
        assert after(loading, event).download is None


def test_a_trainer_that_is_gone_is_no_peer_to_enter_by() -> None:
    def peer(peer_id: str) -> PeerInfo:
        return PeerInfo(peer_id=peer_id, address="", last_seen=1.0)

    part = TrainerPart(device="cuda:1", peer_id="QmSecond")
    found = PeersListed(peers=tuple(map(peer, ("QmTrainer", "QmOther", "QmSecond"))))
    now = follow(READY, PartsChanged(parts=(part,)), found, start=TRAINING)
    assert len(now.peers) == 3
    assert [each.peer_id for each in after(now, TrainerGone()).peers] == ["QmOther"]


def test_completed_run_is_watched_on() -> None:
    now = follow(TrainerGone(completed=True), start=TRAINING)
    assert (now.phase, now.completed) == (Phase.WATCHING, True)


def test_new_training_forgets_how_the_last_one_ended() -> None:
    completed = follow(TrainerGone(completed=True), start=TRAINING)
    for before in (completed, FAILED):
        now = after(before, TrainingRequested(device="cpu"))
        assert (now.completed, now.problem, now.restart_at) == (False, None, None)


def test_failure_says_why_and_when_it_goes_on() -> None:
    assert (FAILED.phase, FAILED.problem, FAILED.restart_at) == (Phase.FAILED, PROBLEM, 9.0)
    assert FAILED.training is None


def test_restart_can_be_postponed_until_it_is_cancelled() -> None:
    later = after(FAILED, RestartPostponed(restart_at=12.0))
    assert later == replace(FAILED, restart_at=12.0)
    other = Problem(message="the disk is away.")
    assert after(FAILED, RestartPostponed(restart_at=12.0, problem=other)).problem == other
    cancelled = after(FAILED, RestartCancelled())
    for now in (cancelled, TRAINING, WATCHING):
        assert after(now, RestartPostponed(restart_at=12.0)) == now


def test_restart_can_be_cancelled() -> None:
    now = after(FAILED, RestartCancelled())
    assert (now.phase, now.problem, now.restart_at) == (Phase.FAILED, PROBLEM, None)


# --- what the trainer reports --------------------------------------------------------------------


def training_after(*events: Event) -> OwnTraining:
    now = follow(*events, start=TRAINING).training
    assert now is not None
    return now


def test_ready_trainer_tells_what_it_is() -> None:
    own = training_after(READY)
    assert own == OwnTraining(
        device="cuda:0",
        peer_id="QmTrainer",
        device_name="H100",
        precision="bf16",
        parameters=800_000,
        micro_batch_size=8,
        resumed_epoch=2,
    )


def test_memory_that_ran_short_is_remembered() -> None:
    own = training_after(READY, protocol.MicroBatchHalved(micro_batch_size=4))
    assert (own.micro_batch_size, own.short_of_memory) == (4, True)


def test_parts_are_those_of_several_trainers() -> None:
    parts = (TrainerPart(device="cuda:0", samples_per_second=80.0), TrainerPart(device="cuda:1"))
    assert training_after(PartsChanged(parts=parts)).parts == parts


def test_progress_is_shown() -> None:
    own = training_after(progress())
    assert (own.step, own.epoch, own.loss) == (5, 3, 2.5)
    assert (own.samples, own.tokens, own.epoch_samples) == (40, 1280, 16)


def test_last_loss_stays_until_there_is_a_new_one() -> None:
    own = training_after(progress(loss=2.5), progress(loss=None, step=6))
    assert (own.loss, own.step) == (2.5, 6)


def test_progress_tells_of_the_run() -> None:
    run = follow(progress(), start=TRAINING).run
    assert run == Run(epoch=3, samples=48, trainers=2, eta=1.5)


def test_swarms_loss_outlasts_our_progress() -> None:
    now = follow(
        RunObserved(run=Run(loss=4.0, samples_per_second=99.0)), progress(), start=TRAINING
    )
    assert now.run is not None
    assert (now.run.loss, now.run.samples_per_second) == (4.0, 99.0)


def test_our_progress_is_fresher_than_the_records() -> None:
    now = follow(progress(), RunObserved(run=Run(epoch=1, samples=1, loss=4.0)), start=TRAINING)
    assert now.run is not None
    assert (now.run.epoch, now.run.samples, now.run.loss) == (3, 48, 4.0)


def test_while_watching_the_records_are_all_there_is() -> None:
    run = Run(epoch=1, samples=1, loss=4.0)
    assert after(WATCHING, RunObserved(run=run)).run == run


def test_who_watches_knows_when_the_batch_will_be_full() -> None:
    gathering = Run(samples=SWARM.target_batch_size - 20, samples_per_second=10.0)
    now = follow(RunObserved(run=gathering), start=WATCHING)
    assert now.run == replace(gathering, eta=2.0)
    over = follow(RunObserved(run=replace(gathering, samples=10**6)), start=WATCHING)
    assert over.run is not None
    assert over.run.eta == 0.0


def test_round_is_kept() -> None:
    own = training_after(
        protocol.RoundEnded(epoch=1, peers=2, seconds=0.5, samples=8, failure="timeout")
    )
    assert own.last_round == Round(epoch=1, peers=2, seconds=0.5, samples=8, failure="timeout")


def test_bytes_and_time_computing_are_kept() -> None:
    own = training_after(
        protocol.Work(bytes_sent=5, bytes_received=6, training_seconds=200.0, waiting_seconds=50.0)
    )
    assert (own.bytes_sent, own.bytes_received, own.computing) == (5, 6, 0.75)
    assert training_after(protocol.Work(training_seconds=1.0)).computing is None


def test_checkpoint_is_kept() -> None:
    assert training_after(protocol.CheckpointSaved(epoch=4, seconds=0.5)).checkpoint_epoch == 4


def at_fault(peer_id: str, fault: PartFault, epoch: int) -> protocol.MemberAtFault:
    return protocol.MemberAtFault(peer_id=peer_id, fault=fault, epoch=epoch, time=float(epoch))


def test_faults_of_members_are_counted_by_peer_and_kind() -> None:
    events = [
        at_fault("QmBad", PartFault.SHAPE, 1),
        at_fault("QmSlow", PartFault.SILENT, 1),
        at_fault("QmBad", PartFault.SHAPE, 2),
        at_fault("QmBad", PartFault.SILENT, 3),
    ]
    faults = follow(*events, start=TRAINING).faults
    told = [(each.peer_id, each.fault, each.count, each.epoch) for each in faults.last]
    assert told == [
        ("QmSlow", PartFault.SILENT, 1, 1),
        ("QmBad", PartFault.SHAPE, 2, 2),
        ("QmBad", PartFault.SILENT, 1, 3),
    ]
    assert dict(faults.totals)[PartFault.SILENT] == 2
    assert [each.fault for each in faults.of("QmBad")] == [PartFault.SHAPE, PartFault.SILENT]


def test_faults_outlast_training_and_not_the_swarm() -> None:
    named = follow(at_fault("QmBad", PartFault.SHAPE, 1), start=TRAINING)
    assert follow(TrainerGone(), start=named).faults == named.faults
    assert follow(Left(), start=named).faults == ContributorState().faults


def test_flood_of_new_offenders_keeps_the_newest() -> None:
    events = [at_fault(f"Qm{number}", PartFault.SHAPE, number) for number in range(250)]
    faults = follow(*events, start=TRAINING).faults
    assert [each.peer_id for each in faults.last] == [f"Qm{number}" for number in range(150, 250)]
    assert dict(faults.totals)[PartFault.SHAPE] == 250


def test_trainers_problem_is_shown_while_it_goes_on() -> None:
    now = after(
        TRAINING, protocol.TrainerProblem(message="is wrong.", field="seed", remedy="Mend it.")
    )
    assert (now.phase, now.problem) == (Phase.TRAINING, PROBLEM)


@pytest.mark.parametrize("before", [ContributorState(), WATCHING, FAILED], ids=lambda s: s.phase)
@pytest.mark.parametrize("word", TRAINERS_WORDS, ids=lambda word: type(word).__name__)
def test_late_word_of_a_gone_trainer_changes_nothing(before: ContributorState, word: Event) -> None:
    assert after(before, word) is before


# --- problems ------------------------------------------------------------------------------------


def test_refused_action_leaves_training_as_it_is() -> None:
    now = after(TRAINING, ProblemRaised(problem=PROBLEM))
    assert now == replace(TRAINING, problem=PROBLEM)


def test_read_problem_is_gone() -> None:
    assert follow(ProblemRaised(problem=PROBLEM), ProblemDismissed(), start=TRAINING) == TRAINING


# --- any events ----------------------------------------------------------------------------------


def test_state_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        WATCHING.phase = Phase.FAILED  # type: ignore[misc]


def values(of: ContributorState) -> dict[str, Any]:
    return {each.name: getattr(of, each.name) for each in fields(of)}


@settings(deadline=None)
@given(events=st.lists(st.sampled_from(EVENTS), max_size=25))
def test_after_is_pure_and_takes_every_event(events: list[Event]) -> None:
    now = ContributorState()
    for event in events:
        before = values(now)
        following = after(now, event)
        assert after(now, event) == following
        assert values(now) == before
        now = following


def is_said(now: ContributorState, event: Event) -> bool:
    """Whether the session may say this event now; reports may come at any time."""
    has_trainer, alone = now.phase.has_trainer, now.peer_id == ""
    match event:
        case JoinBegan():
            return now.phase is Phase.DISCONNECTED
        case Joined():
            return now.phase is Phase.JOINING or not alone
        case JoinFailed():
            return now.phase is Phase.JOINING
        case Left():
            return not has_trainer and now.restart_at is None and now.phase is not Phase.JOINING
        case PeersListed() | RunObserved():
            return not alone
        case ReadingBegan():
            return now.phase in (Phase.WATCHING, Phase.WAITING, Phase.FAILED)
        case TrainingRequested() | TrainingAwaited():
            return now.reads_files or now.phase in (Phase.WATCHING, Phase.WAITING, Phase.FAILED)
        case StopRequested():
            return has_trainer or now.phase is Phase.WAITING
        case TrainerGone():
            return has_trainer and not now.reads_files
        case _:
            return True


def broken(now: ContributorState) -> list[str]:
    """What must always hold, and doesn't."""
    rules = {
        "training is known exactly while there is a trainer": (
            (now.training is not None) == (now.phase.has_trainer and not now.reads_files)
        ),
        "only a failed training is restarted": (
            now.restart_at is None or now.phase is Phase.FAILED
        ),
        "only a preparation has steps": (
            now.step_of_preparation is None or now.phase is Phase.PREPARING
        ),
        "only a preparation waits": now.waiting is None or now.phase is Phase.PREPARING,
        "only a run that nobody trains is completed": (
            not now.completed or now.phase is Phase.WATCHING
        ),
        "only who joined is a peer": (
            (now.peer_id == "") == (now.phase in (Phase.DISCONNECTED, Phase.JOINING))
        ),
        "only what trains or will is paused": not now.paused_by_user or now.trains_or_will,
        "only a pause ends by itself": now.paused_until is None or now.paused_by_user,
        "who is somewhere knows where": now.swarm is not None or now.phase is Phase.DISCONNECTED,
    }
    return [rule for rule, holds in rules.items() if not holds]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_rules_hold_whatever_the_session_says(data: st.DataObject) -> None:
    now = ContributorState()
    for _ in range(data.draw(st.integers(0, 20))):
        event = data.draw(st.sampled_from([each for each in EVENTS if is_said(now, each)]))
        now = after(now, event)
        assert broken(now) == [], event


def test_phases_with_a_trainer() -> None:
    without = {Phase.DISCONNECTED, Phase.JOINING, Phase.WATCHING, Phase.WAITING, Phase.FAILED}
    assert {phase for phase in Phase if not phase.has_trainer} == without
    assert set(Phase) - without == state._WITH_TRAINER


# --- the volunteer's terms -----------------------------------------------------------------------


def test_training_waits_for_the_terms() -> None:
    assert (WAITING.phase, WAITING.trains_or_will) == (Phase.WAITING, True)
    assert not WAITING.may_train
    assert WAITING.paused_by == ("mains_only",)
    assert follow(TermsJudged(terms=Terms(), verdict=Verdict()), start=WAITING).may_train
    assert follow(StopRequested(), start=WAITING).phase is Phase.WATCHING


def test_files_are_read_before_there_is_a_trainer() -> None:
    reading = follow(ReadingBegan(), start=WAITING)
    assert (reading.phase, reading.training, reading.reads_files) == (Phase.PREPARING, None, True)
    assert follow(TrainingAwaited(), start=reading) == WAITING
    assert not follow(TrainingRequested(device="cpu"), start=reading).reads_files
    assert follow(StopRequested(), start=reading).phase is Phase.WATCHING
    assert follow(ReadingEnded(), start=reading).phase is Phase.WATCHING
    assert follow(ReadingEnded(), start=TRAINING) == TRAINING


def test_the_verdict_outlives_the_swarm() -> None:
    assert follow(Left(), start=WAITING) == ContributorState(verdict=HELD)


@pytest.mark.parametrize("before", [TRAINING, WAITING, FAILED], ids=lambda before: before.phase)
def test_the_user_may_pause_what_trains_or_will(before: ContributorState) -> None:
    paused = follow(PauseChosen(until=9.0), start=before)
    assert (paused.paused_by_user, paused.paused_until, paused.may_train) == (True, 9.0, False)
    assert follow(PauseEnded(), start=paused) == before


def test_there_is_nothing_to_pause_while_nothing_is_trained() -> None:
    assert follow(PauseChosen(until=None), start=WATCHING) == WATCHING


def test_the_users_pause_ends_with_the_training() -> None:
    for events in ((StopRequested(), TrainerGone()), (TrainerGone(completed=True),)):
        ended = follow(PauseChosen(until=None), *events, start=TRAINING)
        assert not ended.paused_by_user


def test_what_pauses_is_told_only_while_it_does() -> None:
    judged = follow(
        TermsJudged(terms=Terms(), verdict=HELD), PauseChosen(until=None), start=TRAINING
    )
    assert judged.paused_by == ()
    resting = follow(says(TrainerPhase.PAUSED), start=judged)
    assert resting.paused_by == ("user", "mains_only")


# --- what the model makes of text that nobody trains on ------------------------------------------


def evaluated(epoch: int, loss: float) -> protocol.Evaluated:
    return protocol.Evaluated(
        epoch=epoch, loss=loss, bits_per_byte=loss / 2, tokens=64, seconds=1.0, time=float(epoch)
    )


def wrote(epoch: int, prompt: str, text: str = "…") -> protocol.SampleGenerated:
    return protocol.SampleGenerated(epoch=epoch, prompt=prompt, text=text, time=float(epoch))


def test_the_best_evaluation_is_kept_beside_the_newest() -> None:
    now = follow(evaluated(10, 4.0), evaluated(20, 2.0), evaluated(30, 3.0), start=TRAINING)
    assert now.evaluation == Evaluation(epoch=30, loss=3.0, bits_per_byte=1.5, time=30.0, tokens=64)
    assert now.best_evaluation == Evaluation(
        epoch=20, loss=2.0, bits_per_byte=1.0, time=20.0, tokens=64
    )


def test_evaluations_of_another_text_are_not_compared() -> None:
    shorter = msgspec.structs.replace(evaluated(20, 5.0), tokens=32)
    now = follow(evaluated(10, 4.0), shorter, evaluated(30, 4.5), start=TRAINING)
    assert now.best_evaluation == now.evaluation


def test_what_is_restored_comes_before_what_was_told_meanwhile() -> None:
    earlier = follow(evaluated(10, 2.0), wrote(10, "a"), wrote(20, "a"), start=TRAINING)
    assert earlier.swarm is not None
    kept = RunEvaluations(
        newest=earlier.evaluation, best=earlier.best_evaluation, samples=earlier.samples
    )
    restored = EvaluationsRestored(run_id=earlier.swarm.run_id, evaluations=kept)
    now = follow(evaluated(20, 3.0), wrote(20, "a", "anew"), restored, start=TRAINING)
    assert now.evaluation is not None
    assert now.best_evaluation is not None
    assert (now.evaluation.epoch, now.best_evaluation.epoch) == (20, 10)
    assert [(each.epoch, each.text) for each in now.samples] == [(10, "…"), (20, "anew")]
    assert follow(restored, start=TRAINING).evaluation == earlier.evaluation
    other = replace(restored, run_id="another")
    assert follow(other, start=TRAINING) == TRAINING


def test_evaluations_and_samples_outlast_training_and_not_the_swarm() -> None:
    told = follow(evaluated(10, 4.0), wrote(10, "def"), start=TRAINING)
    ended = follow(TrainerGone(), start=told)
    assert (ended.evaluation, ended.samples) == (told.evaluation, told.samples)
    assert ended.best_evaluation == told.best_evaluation
    assert follow(Left(), start=told) == ContributorState()


def test_samples_of_an_epoch_that_is_evaluated_again_replace_the_old_ones() -> None:
    now = follow(wrote(10, "a"), wrote(10, "b"), wrote(10, "a", "anew"), start=TRAINING)
    assert [(each.prompt, each.text) for each in now.samples] == [("b", "…"), ("a", "anew")]


def test_samples_are_bounded_and_the_newest_stay() -> None:
    now = follow(*(wrote(epoch, "a") for epoch in range(1000)), start=TRAINING)
    assert [each.epoch for each in now.samples] == list(range(1000 - MOST_SAMPLES, 1000))
