"""Starting, resting and pacing a trainer by what the user and their terms say."""

import asyncio
import errno
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import protocol
from app.common.errors import BusyError, DataError, SpecError
from app.common.paths import Folders
from app.common.subscription import Subscription
from app.p2p.network import Network
from app.protocol import EndReason, TrainerPhase
from app.settings.settings import Settings
from app.spec import schema as spec
from app.state.events import (
    DeviceChosen,
    Event,
    JoinBegan,
    Joined,
    ProblemRaised,
    RestartCancelled,
    StopRequested,
    TermsJudged,
)
from app.state.facts import Problem, Swarm
from app.state.state import ContributorState, Phase
from app.state.store import Store
from app.swarm.bindings import Bindings
from app.terms.terms import Reason, Terms, Verdict
from app.training import patience
from app.training.ensemble import Ensemble
from app.training.supervisor import Outcome
from app.training.training import Training
from tests.support.processes.apps import tiny_spec

WAIT = 20.0  # seconds for what must happen; a failing test waits them all

SWARM = Swarm(run_id="run", title="Run", model_type="gpt2", dataset="builtin", target_batch_size=64)
BATTERY = Reason(term="mains_only", text="The computer runs on battery.")
GAME = Reason(term="programs", text="In use: quake.")

PHASES = {
    protocol.Start: TrainerPhase.TRAINING,
    protocol.Resume: TrainerPhase.TRAINING,
    protocol.Pause: TrainerPhase.PAUSED,
}


class ObedientTrainer:
    """Does at once what it is told."""

    def __init__(self, dispatch: Any, told: list[Any]) -> None:
        self._dispatch, self._told = dispatch, told
        self._ended = asyncio.Event()

    async def command(self, kind: type[Any], **fields: Any) -> None:
        self._told.append(kind(id=len(self._told), **fields))
        if kind in PHASES:
            self._dispatch(protocol.PhaseChanged(phase=PHASES[kind]))

    async def start(self, orders: list[dict[str, Any]]) -> None:
        await self.command(protocol.Start, **orders[0])

    async def stop(self, _grace: float = 0.0) -> None:
        self._end(Outcome(returncode=0, reason=EndReason.STOPPED))

    def die(self) -> None:
        self._end(Outcome(returncode=-signal.SIGKILL))

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._ended.set()

    async def outcome(self) -> Outcome:
        await self._ended.wait()
        return self._outcome


class QuietGovernor:
    """Judges nothing by itself: the test says what the terms say."""

    def __init__(self) -> None:
        self.may_look = asyncio.Event()
        self.may_look.set()

    def subscribe(self, listener: Callable[[], None]) -> Subscription:
        return Subscription()

    async def look(self) -> None:
        await self.may_look.wait()


class SlowBindings(Bindings):
    """Reads the files as long as the test wants, and fails if it wants that."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.may_end, self.reads = asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self.failure: DataError | None = None
        self.readings = 0

    async def filled(self, spec: spec.SwarmSpec) -> spec.SwarmSpec:
        self.readings += 1
        self.reads.set()
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        return await super().filled(spec)


class House:
    """Training in a swarm. `told`: all that trainers were told; `trainers`: how many there were;
    `short`: so many starts of a trainer fail."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(settings=Settings(), state=ContributorState(device="cpu"))
        self.store.subscribe_to_events(self._note)
        self.told: list[Any] = []
        self.trainers = 0
        self.events: list[Event] = []
        self.problems: list[Event] = []
        self.membership = SimpleNamespace(
            spec=spec.parse(tiny_spec()),
            joined=True,
            node=object(),
            network=lambda _port, *, place: Network(listen=(f"/ip4/127.0.0.1/tcp/{place}",)),
        )
        self.short = 0
        self.last: ObedientTrainer | None = None
        self.governor = QuietGovernor()
        self.bindings = SlowBindings(Folders.under(folder).slots_file)
        self.training = Training(
            self.store,
            folders=Folders.under(folder),
            membership=self.membership,  # type: ignore[arg-type]
            governor=self.governor,  # type: ignore[arg-type]
            bindings=self.bindings,
        )
        for event in (JoinBegan(swarm=SWARM), Joined(peer_id="Qm", addresses=())):
            self.dispatch(event)

    async def begins_to_read(self) -> asyncio.Task[None]:
        """A start that reads files until `bindings.may_end` is set."""
        self.bindings.may_end.clear()
        starting = asyncio.create_task(self.training.start())
        await self.bindings.reads.wait()
        return starting

    @property
    def state(self) -> ContributorState:
        return self.store.state

    def dispatch(self, event: Event) -> None:
        self.store.dispatch(event)

    def _note(self, event: Event, _state: ContributorState) -> None:
        self.events.append(event)
        if isinstance(event, ProblemRaised):
            self.problems.append(event)

    async def spawn(self, *_devices: Any, **_options: Any) -> ObedientTrainer:
        await asyncio.sleep(0)
        if self.short:
            self.short -= 1
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        self.trainers += 1
        self.last = ObedientTrainer(self.dispatch, self.told)
        return self.last

    async def until(self, condition: Callable[[ContributorState], bool]) -> ContributorState:
        """The next state for which it holds."""
        held = asyncio.get_running_loop().create_future()

        def look(state: ContributorState) -> None:
            if condition(state) and not held.done():
                held.set_result(state)

        looking = self.store.subscribe(look)
        look(self.state)
        try:
            async with asyncio.timeout(WAIT):
                return await held
        finally:
            looking.close()

    async def dies(self) -> ContributorState:
        """The trainer is killed from outside; returns the state after it."""
        assert self.last is not None
        self.last.die()
        return await self.until(lambda state: state.phase is Phase.FAILED)

    async def judge(self, *reasons: Reason, share: float = 1.0) -> None:
        """The terms say something else, and training obeys."""
        self.dispatch(TermsJudged(terms=Terms(), verdict=Verdict(reasons=reasons, share=share)))
        self.training.obey()
        for _ in range(10):
            await asyncio.sleep(0)

    def told_of(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.told if isinstance(command, kind)]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path)
    monkeypatch.setattr(Ensemble, "spawn", made.spawn)
    return made


# --- the terms


async def test_it_starts_when_the_terms_allow_it(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    assert (house.state.phase, house.trainers) == (Phase.WAITING, 0)
    await house.judge()
    assert (house.state.phase, house.trainers) == (Phase.TRAINING, 1)
    await house.training.stop()


async def test_what_waits_can_be_stopped(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    await house.training.stop()
    await house.judge()
    assert (house.state.phase, house.trainers) == (Phase.WATCHING, 0)


async def test_a_stop_is_faster_than_the_terms(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    house.dispatch(TermsJudged(terms=Terms(), verdict=Verdict()))
    house.training.obey()
    await house.training.stop()
    await house.judge()
    assert (house.state.phase, house.trainers) == (Phase.WATCHING, 0)


async def test_looks_in_quick_succession_start_one_trainer(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    house.dispatch(TermsJudged(terms=Terms(), verdict=Verdict()))
    for _look in range(3):
        house.training.obey()
    await house.judge()
    assert (house.trainers, house.problems) == (1, [])
    await house.training.stop()


async def test_nothing_starts_in_a_swarm_that_is_being_left(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    house.membership.joined = False
    await house.judge()
    assert (house.trainers, house.problems) == (0, [])


async def test_it_rests_and_goes_on(house: House) -> None:
    await house.training.start()
    await house.judge(BATTERY)
    await house.judge(BATTERY)
    assert house.state.phase is Phase.PAUSED
    assert [pause.free_after for pause in house.told_of(protocol.Pause)] == [60.0]
    await house.judge()
    assert house.state.phase is Phase.TRAINING
    await house.training.stop()


async def test_memory_that_others_want_is_given_at_once(house: House) -> None:
    await house.training.start()
    await house.judge(BATTERY)
    await house.judge(BATTERY, GAME)
    assert [pause.free_after for pause in house.told_of(protocol.Pause)] == [60.0, 0.0]
    await house.training.stop()


# --- an unexpected end


@pytest.fixture
def corpus(house: House, tmp_path: Path) -> Path:
    """The file that fills the swarm's slot."""
    file = tmp_path / "corpus.txt"
    file.touch()
    slot = {"source": "slot", "label": "corpus"}
    house.membership.spec = spec.parse(tiny_spec(dataset_info=slot))
    house.bindings.choose(house.membership.spec.run_id, {"corpus": str(file)})
    return file


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RESTART_SECONDS", (0.0,))


@pytest.mark.usefixtures("soon")
async def test_a_restart_waits_for_the_daemon_that_is_being_replaced(house: House) -> None:
    await house.training.start()
    house.membership.node = None
    first = (await house.dies()).restart_at
    later = await house.until(lambda state: state.restart_at not in (None, first))
    assert later.problem is not None
    assert "signal 9" in later.problem.message
    house.membership.node = object()
    await house.until(lambda state: state.phase is Phase.TRAINING)
    assert house.trainers == 2
    assert RestartCancelled() not in house.events
    await house.training.stop()


@pytest.mark.usefixtures("soon", "corpus")
async def test_a_restart_is_tried_again_while_a_file_is_away(house: House) -> None:
    await house.training.start()
    house.bindings.failure = DataError("the disk is away.")
    await house.dies()
    await house.until(lambda state: state.problem == Problem(message="the disk is away."))
    assert house.state.trains_or_will
    house.bindings.failure = None
    await house.until(lambda state: state.phase is Phase.TRAINING)
    assert RestartCancelled() not in house.events
    await house.training.stop()


@pytest.mark.usefixtures("soon", "corpus")
async def test_what_waits_for_the_terms_is_tried_again_while_a_file_is_away(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    house.bindings.failure = DataError("the disk is away.")
    await house.judge()
    await house.until(lambda state: state.problem == Problem(message="the disk is away."))
    assert house.state.trains_or_will
    house.bindings.failure = None
    await house.until(lambda state: state.phase is Phase.TRAINING)
    await house.training.stop()


@pytest.mark.usefixtures("soon")
async def test_a_failed_fork_is_tried_again_if_it_was_a_restart(house: House) -> None:
    await house.training.start()
    house.short = 2
    await house.dies()
    await house.until(lambda state: state.phase is Phase.TRAINING)
    assert (house.short, house.trainers) == (0, 2)
    await house.training.stop()
    house.short = 1
    await house.training.start()
    assert (house.state.phase, house.state.restart_at) == (Phase.FAILED, None)


@pytest.mark.usefixtures("soon", "corpus")
async def test_a_restart_that_reads_its_files_can_be_stopped(house: House) -> None:
    await house.training.start()
    house.bindings.may_end.clear()
    house.bindings.reads.clear()
    await house.dies()
    await house.bindings.reads.wait()
    await house.training.stop()
    assert not house.state.trains_or_will
    house.bindings.may_end.set()
    await house.judge()
    assert (house.state.phase, house.state.restart_at, house.trainers) == (Phase.WATCHING, None, 1)


@pytest.mark.usefixtures("corpus")
async def test_a_start_by_the_user_takes_a_restarts_place(house: House) -> None:
    await house.training.start()
    await house.dies()
    house.bindings.failure = DataError("no such file.")
    with pytest.raises(DataError):
        await house.training.start()
    assert house.state.restart_at is not None
    house.bindings.failure = None
    await house.training.start()
    assert (house.state.phase, house.trainers) == (Phase.TRAINING, 2)
    assert RestartCancelled() not in house.events
    await house.training.stop()


# --- the user


async def test_a_stop_while_the_terms_are_looked_at_ends_the_start(house: House) -> None:
    house.governor.may_look.clear()
    starting = asyncio.create_task(house.training.start())
    await asyncio.sleep(0)
    await house.training.stop()
    house.governor.may_look.set()
    await starting
    assert (house.state.phase, house.trainers) == (Phase.WATCHING, 0)


@pytest.mark.usefixtures("corpus")
async def test_a_stop_ends_the_starts_before_it_and_none_after_it(house: House) -> None:
    house.bindings.may_end.clear()
    before = asyncio.create_task(house.training.start())
    await house.bindings.reads.wait()
    await house.training.stop()
    house.bindings.reads.clear()
    after = asyncio.create_task(house.training.start())
    await house.bindings.reads.wait()
    house.bindings.may_end.set()
    await asyncio.gather(before, after)
    assert (house.state.phase, house.trainers) == (Phase.TRAINING, 1)
    await house.training.stop()


async def test_the_users_pause_wins(house: House) -> None:
    await house.training.start()
    await house.training.pause()
    assert (house.state.phase, house.state.paused_by) == (Phase.PAUSED, ("user",))
    await house.judge(BATTERY)
    await house.judge()
    assert house.state.phase is Phase.PAUSED
    await house.training.resume()
    assert house.state.phase is Phase.TRAINING
    await house.training.stop()


async def test_who_resumes_is_still_held_by_the_terms(house: House) -> None:
    await house.training.start()
    await house.training.pause()
    await house.judge(BATTERY)
    await house.training.resume()
    assert (house.state.phase, house.state.paused_by) == (Phase.PAUSED, ("mains_only",))
    await house.judge()
    assert house.state.phase is Phase.TRAINING
    await house.training.stop()


async def test_a_pause_for_a_time_ends_by_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.training.start()
    await house.training.pause(3600.0)
    until = house.state.paused_until
    assert until is not None
    assert until == pytest.approx(time.time() + 3600, abs=60)
    await house.judge()
    assert house.state.phase is Phase.PAUSED
    monkeypatch.setattr(time, "time", lambda: until)
    await house.judge()
    assert (house.state.phase, house.state.paused_until) == (Phase.TRAINING, None)
    await house.training.stop()


async def test_a_clock_set_back_does_not_make_a_pause_longer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.training.start()
    await house.training.pause(60.0)
    later = SimpleNamespace(
        time=lambda: time.time() - 3600, monotonic=lambda: time.monotonic() + 61
    )
    monkeypatch.setattr("app.training.training.time", later)
    await house.judge()
    assert (house.state.phase, house.state.paused_until) == (Phase.TRAINING, None)
    await house.training.stop()


async def test_what_waits_can_be_paused(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    await house.training.pause()
    await house.judge()
    assert (house.state.phase, house.state.paused_by) == (Phase.WAITING, ("user",))
    await house.training.resume()
    await house.judge()
    assert house.state.phase is Phase.TRAINING
    await house.training.stop()


async def test_who_starts_paused_trains_when_the_pause_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = time.time() + 3600
    await house.training.start_paused(until)
    assert (house.state.phase, house.state.paused_by) == (Phase.WAITING, ("user",))
    assert house.state.paused_until == pytest.approx(until, abs=60)
    monkeypatch.setattr(time, "time", lambda: until + 60)
    await house.judge()
    assert (house.state.phase, house.state.paused_until) == (Phase.TRAINING, None)
    await house.training.stop()


async def test_who_starts_paused_can_be_resumed(house: House) -> None:
    await house.training.start_paused(None)
    await house.training.resume()
    await house.judge()
    assert house.state.phase is Phase.TRAINING
    with pytest.raises(BusyError):
        await house.training.start_paused(None)
    await house.training.stop()


async def test_there_must_be_something_to_pause(house: House) -> None:
    for act in (house.training.pause, house.training.resume):
        with pytest.raises(BusyError, match="nothing is being trained"):
            await act()


async def test_the_memory_that_is_allowed_is_told_at_the_start(house: House) -> None:
    house.store.replace_settings(Settings(terms=Terms(max_memory=6)))
    await house.training.start()
    assert [start.max_memory for start in house.told_of(protocol.Start)] == [6 * 10**9]
    await house.training.stop()


# --- the pace


async def test_the_pace_is_told_when_it_is_another(house: House) -> None:
    house.store.replace_settings(Settings(terms=Terms(max_upload=8, max_download=16)))
    await house.training.start()
    await house.judge()
    await house.judge(share=0.504)
    await house.judge(share=0.501)
    await house.judge(share=0.4)
    paces = [(pace.share, pace.upload, pace.download) for pace in house.told_of(protocol.Pace)]
    assert paces == [
        (1.0, 1_000_000, 2_000_000),
        (0.5, 1_000_000, 2_000_000),
        (0.4, 1_000_000, 2_000_000),
    ]
    await house.training.stop()


async def test_several_trainers_share_the_line(house: House) -> None:
    house.store.replace_settings(Settings(terms=Terms(max_upload=8)))
    house.dispatch(DeviceChosen(device="cuda:0", others=("cuda:1",)))
    await house.training.start()
    await house.judge()
    assert [pace.upload for pace in house.told_of(protocol.Pace)] == [500_000]
    await house.training.stop()


async def test_each_trainer_is_told_the_pace(house: House) -> None:
    await house.judge(share=0.5)
    for _trainer in range(2):
        await house.training.start()
        await house.judge(share=0.5)
        await house.training.stop()
    assert [pace.share for pace in house.told_of(protocol.Pace)] == [0.5, 0.5]


# --- files of this machine


async def test_trainer_is_given_the_files_that_fill_the_slots(house: House, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.touch()
    slot = {"source": "slot", "label": "corpus"}
    house.membership.spec = spec.parse(tiny_spec(dataset_info=slot))
    with pytest.raises(SpecError, match="corpus"):
        await house.training.start()
    assert (house.trainers, house.state.phase) == (0, Phase.WATCHING)
    house.bindings.choose(house.membership.spec.run_id, {"corpus": str(corpus)})
    await house.training.start()
    (order,) = house.told_of(protocol.Start)
    assert order.spec["dataset_info"]["paths"] == [str(corpus)]
    assert house.membership.spec.data.source == "slot"  # what we share and remember


@pytest.mark.usefixtures("corpus")
async def test_while_files_are_read_it_prepares_and_is_started_once(house: House) -> None:
    starting = await house.begins_to_read()
    assert (house.state.phase, house.state.reads_files) == (Phase.PREPARING, True)
    with pytest.raises(BusyError):
        await house.training.start()
    house.training.obey()
    house.bindings.may_end.set()
    await starting
    assert (house.state.phase, house.trainers, house.bindings.readings) == (Phase.TRAINING, 1, 1)
    await house.training.stop()


@pytest.mark.usefixtures("corpus")
async def test_a_stop_ends_the_reading_and_nothing_starts(house: House) -> None:
    starting = await house.begins_to_read()
    await house.training.stop()
    await starting
    assert (house.state.phase, house.trainers) == (Phase.WATCHING, 0)


@pytest.mark.usefixtures("corpus")
async def test_who_is_gone_reads_no_longer(house: House) -> None:
    starting = await house.begins_to_read()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (house.state.phase, house.trainers) == (Phase.WATCHING, 0)


@pytest.mark.usefixtures("corpus")
async def test_who_reads_no_longer_has_not_stopped_it(house: House) -> None:
    starting = await house.begins_to_read()
    starting.cancel()
    await asyncio.wait({starting})
    house.bindings.may_end.set()
    house.bindings.failure = DataError("the disk is away.")
    with pytest.raises(DataError):
        await house.training.start()
    assert house.state.phase is Phase.WATCHING
    assert StopRequested() not in house.events


@pytest.mark.usefixtures("corpus")
async def test_a_start_in_vain_leaves_what_waits(house: House) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    house.bindings.failure = DataError("the disk is away.")
    with pytest.raises(DataError):
        await house.training.start()
    assert house.state.phase is Phase.WAITING


@pytest.mark.usefixtures("corpus")
async def test_whatever_fails_in_reading_ends_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_spec: spec.SwarmSpec) -> spec.SwarmSpec:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(house.bindings, "filled", breaks)
    with pytest.raises(RuntimeError):
        await house.training.start()
    assert house.state.phase is Phase.WATCHING


@pytest.mark.usefixtures("soon")
async def test_a_file_that_is_gone_is_said_and_waited_for(house: House, corpus: Path) -> None:
    await house.judge(BATTERY)
    await house.training.start()
    corpus.unlink()
    await house.judge()
    await house.until(lambda state: state.problem is not None)
    assert (house.state.phase, house.trainers) == (Phase.FAILED, 0)
    corpus.touch()
    await house.until(lambda state: state.phase is Phase.TRAINING)
    await house.training.stop()


async def test_one_of_several_trainers_evaluates(house: House) -> None:
    house.dispatch(DeviceChosen(device="cuda:0", others=("cuda:1",)))
    orders = [house.training.order("trainer", place=place) for place in range(2)]
    assert [order["evaluates"] for order in orders] == [True, False]
