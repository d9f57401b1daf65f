"""The overview: states in words, buttons that act, problems that name what to do."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QMessageBox
from pytestqt.qtbot import QtBot

from app import protocol
from app.common.errors import BusyError
from app.contributions.ledger import Ledger
from app.p2p import machine_records
from app.protocol import TrainerPhase
from app.spec.about import AboutSpec
from app.state.events import (
    DeviceChosen,
    Event,
    JoinBegan,
    Left,
    PauseChosen,
    PauseEnded,
    ProblemRaised,
    ReadingBegan,
    StopRequested,
    TermsJudged,
    TrainerGone,
    TrainingAwaited,
    TrainingRequested,
)
from app.state.facts import Problem
from app.state.state import Phase
from app.terms.terms import Reason, Terms, Verdict
from tests.support.gui.windows import (
    DEVICES,
    JOINING,
    PREPARING,
    SWARM,
    TRAINING,
    WATCHING,
    Bench,
    clipped,
    progress,
)
from tests.support.machine.machines import record
from tests.support.training.works import contribution

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
OUT_OF_MEMORY = Problem(
    message="the GPU has not enough memory.",
    field="training_params.micro_batch_size",
    remedy="Choose a smaller one.",
)


def phase(name: TrainerPhase) -> protocol.PhaseChanged:
    return protocol.PhaseChanged(phase=name)


AVERAGING = (*TRAINING, phase(TrainerPhase.AVERAGING))
PAUSED = (*TRAINING, PauseChosen(), phase(TrainerPhase.PAUSED))
STOPPING = (*TRAINING, StopRequested())
FAILED = (*TRAINING, TrainerGone(problem=OUT_OF_MEMORY))
BATTERY = Reason(term="mains_only", text="The computer runs on battery.")
HELD = TermsJudged(terms=Terms(mains_only=True), verdict=Verdict(reasons=(BATTERY,)))
WAITING = (*WATCHING, HELD, TrainingAwaited())
HELD_BACK = (*TRAINING, HELD, phase(TrainerPhase.PAUSED))
RESTARTING = (*TRAINING, TrainerGone(problem=OUT_OF_MEMORY, restart_at=4e9))
COMPLETED = (*TRAINING, TrainerGone(completed=True))


@pytest.mark.parametrize(
    ("events", "title", "primary", "second"),
    [
        ((), "Not in a swarm", "Join a swarm…", None),
        (JOINING, "Joining", "Joining…", "Cancel"),
        (WATCHING, "Watching", "Start training", None),
        (WAITING, "Waiting", "Don't start", None),
        (PREPARING, "Preparing", "Stop training", None),
        (TRAINING, "Training", "Stop training", "Pause"),
        (AVERAGING, "Averaging", "Stop training", "Pause"),
        (PAUSED, "Paused", "Stop training", "Resume"),
        (HELD_BACK, "Paused", "Stop training", None),
        (STOPPING, "Stopping", "Stopping…", None),
        (FAILED, "Needs attention", "Restart training", None),
        (RESTARTING, "Starting again", "Restart now", "Don't restart"),
        (COMPLETED, "Completed", "Join a swarm…", None),
    ],
)
def test_each_state_has_its_words(
    bench: Bench, events: tuple[Event, ...], title: str, primary: str, second: str | None
) -> None:
    bench.dispatch(*events)
    headline = bench.window.overview.headline
    assert headline.title.text() == title
    assert headline.primary.text() == primary
    assert (headline.secondary.text() if headline.secondary.isVisible() else None) == second
    assert headline.explanation.text()


@pytest.mark.parametrize(
    ("waiting", "why"),
    [
        (
            protocol.Waiting(whom="doors", seen=1, known=2),
            (
                "Waiting for the swarm's entry points, so that the swarm doesn't split"
                " (1 of 2 reached)…"
            ),
        ),
        (
            protocol.Waiting(whom="trainers", seen=0, known=1),
            "Waiting for the others: 1 machine trains, but can't be reached yet…",
        ),
    ],
)
def test_it_says_for_whom_it_waits(bench: Bench, waiting: protocol.Waiting, why: str) -> None:
    bench.dispatch(*PREPARING, waiting)
    assert bench.window.overview.headline.explanation.text() == why


@pytest.mark.parametrize(
    ("events", "which", "call"),
    [
        (JOINING, "secondary", "leave"),
        (WATCHING, "primary", "start"),
        (WAITING, "primary", "stop"),
        (PREPARING, "primary", "stop"),
        (TRAINING, "primary", "stop"),
        (TRAINING, "secondary", "pause"),
        (TRAINING, "snooze", "pause 3600"),
        (PAUSED, "secondary", "resume"),
        (PAUSED, "primary", "stop"),
        (FAILED, "primary", "start"),
        (RESTARTING, "primary", "start"),
        (RESTARTING, "secondary", "cancel restart"),
    ],
)
def test_buttons_act(
    bench: Bench, qtbot: QtBot, events: tuple[Event, ...], which: str, call: str
) -> None:
    bench.dispatch(*events)
    qtbot.mouseClick(getattr(bench.window.overview.headline, which), LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == [call])


@pytest.mark.parametrize("events", [JOINING, STOPPING])
def test_there_is_nothing_to_press_while_it_works(bench: Bench, events: tuple[Event, ...]) -> None:
    bench.dispatch(*events)
    assert not bench.window.overview.headline.primary.isEnabled()


def test_a_double_click_acts_once(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    button = bench.window.overview.headline.primary
    qtbot.mouseClick(button, LEFT)
    QTest.mouseDClick(button, LEFT)
    qtbot.waitUntil(lambda: bool(bench.session.calls))
    assert bench.session.calls == ["start"]


def test_a_click_before_the_session_is_open_waits_and_says_so(
    make_bench: Callable[..., Bench], qtbot: QtBot
) -> None:
    bench = make_bench(opened=False)
    headline, welcome = bench.window.overview.headline, bench.window.overview.welcome
    qtbot.mouseClick(welcome.demo, LEFT)
    qtbot.waitUntil(lambda: "Getting ready" in headline.explanation.text())
    assert not welcome.demo.isEnabled()
    bench.actions._opened.set_result(None)
    qtbot.waitUntil(lambda: bench.session.calls == ["demo"])
    assert welcome.demo.isEnabled()


def test_who_looks_for_a_swarm_sees_what_is_offered(bench: Bench, qtbot: QtBot) -> None:
    with qtbot.waitSignal(bench.actions.offers_wanted):
        qtbot.mouseClick(bench.window.overview.welcome.offers, LEFT)


def test_what_opening_raised_is_shown_for_each_later_action(
    make_bench: Callable[..., Bench], qtbot: QtBot
) -> None:
    bench = make_bench(opened=False)
    bench.actions._opened.set_exception(BusyError("another instance runs."))
    bench.actions.try_demo()
    qtbot.waitUntil(bench.window.banner.isVisible)
    assert bench.session.calls == []


def test_the_problem_and_its_remedy_are_said_until_it_is_dismissed(
    bench: Bench, qtbot: QtBot
) -> None:
    banner = bench.window.banner
    assert not banner.isVisible()
    bench.dispatch(ProblemRaised(problem=OUT_OF_MEMORY))
    assert banner.isVisible()
    assert "training_params" not in banner.message.text()
    assert "ot enough memory" in banner.message.text()
    assert banner.remedy.text() == "Choose a smaller one."
    banner.dismiss.setFocus()
    qtbot.keyClick(banner.dismiss, Qt.Key.Key_Space)
    assert not banner.isVisible()


def test_a_problem_takes_little_room_on_each_page(bench: Bench, qtbot: QtBot) -> None:
    window = bench.window
    window.resize(960, 600)
    whole = "wrong " * 400
    bench.dispatch(*WATCHING, ProblemRaised(problem=Problem(message=whole, remedy="No.\n" * 90)))
    assert "wrong wrong" in window.banner.message.toolTip()
    for page in window.pages:
        bench.open(page.title)
        assert window.banner.isVisible()
        qtbot.waitUntil(lambda: not clipped(window.banner))
        assert window.size().toTuple() == (960, 600)
        assert window.banner.height() < window.height() / 3
    room = window.stack.height()
    window.banner.dismiss.click()
    qtbot.waitUntil(lambda: window.stack.height() > room)
    assert window.stack.y() == 0


def test_it_says_what_the_swarm_is_for(bench: Bench) -> None:
    card = bench.window.overview.about
    bench.dispatch(*WATCHING)
    assert not card.isVisible()
    about = AboutSpec(purpose="Old letters", licence="MIT")
    bench.dispatch(Left(), JoinBegan(swarm=replace(SWARM, about=about)))
    assert card.isVisible()
    words = [each.text() for each in card.findChildren(QLabel) if each.isVisible()]
    assert {"Old letters", "MIT"} <= set(words)


def test_it_says_how_many_machines_are_there_and_how_many_are_of_the_lab(bench: Bench) -> None:
    swarm, machines, store = (
        bench.window.overview.swarm,
        bench.session.machines,
        bench.session.store,
    )
    bench.dispatch(*WATCHING)
    assert swarm.value("machines") == "–"
    now = time.time()
    told = {
        name: record(alias=name, time=now, lab=lab, state=state)
        for name, lab, state in (
            ("a", "vision", "training"),
            ("b", "", "watching"),
            ("c", "vision", machine_records.LEFT),
        )
    }
    machines.fleet.take(told, now)
    for lab, said in (("", "2"), ("vision", "2, 1 of your lab")):
        store.replace_settings(store.settings.model_copy(update={"lab": lab}))
        for listener in tuple(machines._listeners):  # as after a reading
            listener()
        assert swarm.value("machines") == said


def test_a_refused_action_becomes_a_problem(bench: Bench, qtbot: QtBot) -> None:
    bench.session.refusal = BusyError("not now.", field="device", remedy="Wait.")
    bench.actions.start()
    qtbot.waitUntil(bench.window.banner.isVisible)
    assert bench.window.banner.message.text() == "Not now."


@pytest.mark.logs_error("an action of the window failed")
def test_a_defect_is_shown_as_ours_and_logged(bench: Bench, qtbot: QtBot) -> None:
    bench.session.refusal = ValueError("oh")
    bench.actions.start()
    qtbot.waitUntil(bench.window.banner.isVisible)
    assert "Something went wrong in the app" in bench.window.banner.message.text()


def test_a_wrong_swarm_file_is_a_problem(bench: Bench, qtbot: QtBot, tmp_path: Path) -> None:
    file = tmp_path / "bad.cotrain"
    file.write_text('{"run_id": "x"}')
    bench.actions.join(str(file))
    qtbot.waitUntil(bench.window.banner.isVisible)
    said = "This invite can't be used: model_config: is missing."
    assert said in bench.window.banner.message.text()


def test_devices_can_be_chosen_until_training(bench: Bench, qtbot: QtBot) -> None:
    box = bench.window.overview.headline.device
    assert box.currentText() == "Looking for devices…"
    assert not box.isEnabled()
    bench.dispatch(*DEVICES)
    assert [box.itemText(index) for index in range(box.count())] == [
        "NVIDIA GeForce RTX 4070, 12 GiB",
        "CPU (AMD Ryzen 7 5800X)",
    ]
    assert box.currentData() == "cuda:0"
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Down)
    assert bench.session.store.state.device == "cpu"
    bench.dispatch(*TRAINING)
    assert not box.isEnabled()
    assert "Stop training" in box.toolTip()


def test_a_device_that_is_gone_is_named(bench: Bench) -> None:
    bench.dispatch(protocol.Devices(devices=(), torch_version="2.10"))
    assert bench.window.overview.headline.device.currentText() == "The first GPU, or CPU"


def test_it_says_how_well_the_model_reads_and_what_it_writes(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    epoch = bench.window.overview.epoch
    assert not epoch.reading.isVisibleTo(epoch)
    assert not epoch.writing.isVisibleTo(epoch)
    best, newest = (
        protocol.Evaluated(
            epoch=number, loss=bits, bits_per_byte=bits, tokens=64, seconds=1.0, time=1.0
        )
        for number, bits in ((40, 2.39), (50, 2.41))
    )
    bench.dispatch(best)
    assert epoch.reading.text() == (
        "The model reads text it has never seen: 2.39 bits per byte, the best so far, in epoch 40."
    )
    sample = protocol.SampleGenerated(epoch=50, prompt="The", text=" end\n\u202e!", time=1.0)
    bench.dispatch(newest, sample)
    assert epoch.reading.text() == (
        "The model reads text it has never seen: 2.41 bits per byte, best so far 2.39 in epoch 40."
    )
    assert "perplexity 11" in epoch.reading.toolTip()
    assert epoch.writing.full == "After “The” it writes:  end \ufffd!"


def test_the_epoch_says_whose_samples_are_whose(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    epoch = bench.window.overview.epoch
    assert epoch.title.text() == "Epoch 12"
    assert epoch.swarm.text() == "3,412 of 4,096 samples by the swarm"
    assert epoch.own.text() == "484 by this machine (12\u00a0%)"
    assert epoch.health.full == (
        "next averaging in about 6 s · last round: 7 peers, 2.1 s, all succeeded"
    )


def test_a_failed_round_is_said(bench: Bench) -> None:
    ended = protocol.RoundEnded(epoch=12, peers=1, seconds=9.0, samples=1, failure="timed out")
    bench.dispatch(*TRAINING, ended)
    text = bench.window.overview.epoch.health.full
    assert "last round failed after 9.0 s: timed out" in text


def test_round_that_got_only_a_part_says_so(bench: Bench) -> None:
    ended = protocol.RoundEnded(
        epoch=12, peers=6, seconds=2.0, samples=1, failure="", arrived=5 / 6
    )
    bench.dispatch(*TRAINING, ended)
    text = bench.window.overview.epoch.health.full
    assert "last round: 6 peers, 2.0 s, 83\u00a0% of the parts arrived" in text


def test_own_steps_and_exchanges_are_shown_as_such(bench: Bench) -> None:
    swarm = replace(SWARM, own_steps=True)
    bench.dispatch(*(JoinBegan(swarm=swarm) if isinstance(e, JoinBegan) else e for e in TRAINING))
    bench.dispatch(
        progress(own_steps=23),
        protocol.RoundEnded(
            epoch=12, peers=7, seconds=60.0, samples=9, failure="", bytes_sent=57 * 2**20
        ),
        protocol.Work(bytes_sent=1, training_seconds=100.0, waiting_seconds=3.0),
    )
    page = bench.window.overview
    assert page.epoch.own.text() == "484 by this machine (12\u00a0%) · 23 steps of its own"
    assert page.epoch.health.full == (
        "next exchange in about 6 s · last round: 7 peers, 60.0 s, 57 MiB sent"
    )
    assert page.machine.value("computing") == "97\u00a0%"
    assert page.network.value("round_size") == "57 MiB"
    bench.dispatch(progress(own_steps=0, exchanging=True))
    assert page.epoch.health.full.startswith("an exchange runs beside computing")
    bench.open("Swarm")
    bench.window.swarm.widget.refresh()
    assert bench.window.swarm.widget.show_rounds.text() == "2 exchanges"


def test_cards_show_what_is_known(bench: Bench) -> None:
    bench.dispatch(*TRAINING)
    page = bench.window.overview
    assert page.machine.value("precision") == "bf16"
    assert page.machine.value("batch") == "8"
    assert page.machine.value("tokens") == "11,277"
    assert page.swarm.value("trainers") == "7"
    assert page.swarm.value("loss") == "2.230"
    assert page.network.value("peer_id") == "12D3…sDfG"
    assert page.network.value("checkpoint") == "12"


def test_what_training_takes_is_measured_or_said_to_be_estimated(
    bench: Bench, until_done: Callable[..., Any], qtbot: QtBot
) -> None:
    contributions, store = bench.session.contributions, bench.session.store
    overview, given = bench.window.overview, bench.window.overview.given_today
    until_done(contributions.open())
    bench.dispatch(*WATCHING)
    assert not overview.cost.isVisibleTo(overview)  # nothing is made up
    store.replace_settings(
        store.settings.model_copy(update={"training_watts": 180.0, "energy_price": 0.5})
    )
    bench.dispatch(*TRAINING)
    assert overview.cost.text() == (
        "Training takes about 180 W, an estimate from the settings: 4.32 kWh (2.16 €) a day."
    )
    assert overview.cost.isVisibleTo(overview)
    contributions.energy.power = 100.0
    bench.dispatch()
    assert overview.cost.text() == (
        "Training takes 100 W at present, as measured: 2.4 kWh (1.20 €) a day."
    )
    ended = time.time()
    one = contribution(
        1, started_at=ended - 60, ended_at=ended, uptime_ratio=100.0, energy=12_000.0
    )
    until_done(contributions.ledger.run(Ledger.add, one))
    qtbot.waitUntil(lambda: given.value("energy") == "3.33 Wh")
    assert given.value("cost") == "< 0.01 €"
    assert not overview.estimated.isVisibleTo(overview)
    bench.dispatch(TrainerGone())
    assert overview.cost.text() == (
        "Training took 200 W here before, as measured: 4.8 kWh (2.40 €) a day."
    )
    other = contribution(2, started_at=ended - 60, ended_at=ended, energy=None)
    until_done(contributions.ledger.run(Ledger.add, other))
    qtbot.waitUntil(lambda: given.value("energy") == "≈ 6.23 Wh")
    assert "2.9 Wh of the energy is an estimate, 180 W" in overview.estimated.text()


def test_before_anything_is_measured_the_devices_limit_says_what_it_costs(
    bench: Bench, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"cpu": 65.0, "cuda:0": 320.0}
    monkeypatch.setattr(
        "ui.models.power_limit.power_limit",
        lambda devices: sum(limits[each.id] for each in devices),
    )
    overview, store = bench.window.overview, bench.session.store
    bench.dispatch(*WATCHING)
    store.replace_settings(store.settings.model_copy(update={"energy_price": 0.5}))
    for device, others, expected in (
        ("cuda:0", (), "at most 320 W, the device's own limit: 7.68 kWh (3.84 €) a day."),
        ("cpu", (), "at most 65 W, the device's own limit: 1.56 kWh (0.78 €) a day."),
        ("cuda:0", ("cpu",), "at most 385 W"),
    ):
        bench.dispatch(DeviceChosen(device=device, others=others))
        qtbot.waitUntil(lambda expected=expected: expected in overview.cost.text())
    store.replace_settings(store.settings.model_copy(update={"training_watts": 50.0}))
    bench.dispatch()
    assert "about 50 W, an estimate from the settings" in overview.cost.text()


def test_short_memory_is_said(bench: Bench) -> None:
    bench.dispatch(*TRAINING, protocol.MicroBatchHalved(micro_batch_size=4))
    assert bench.window.overview.machine.value("batch") == "4"
    assert (
        "ran short of memory: training goes on with 4 samples"
        in bench.window.overview.headline.explanation.text()
    )


def test_who_begins_with_a_doors_snapshot_is_told(bench: Bench) -> None:
    ready = next(event for event in TRAINING if isinstance(event, protocol.Ready))
    bench.dispatch(*TRAINING, msgspec.structs.replace(ready, snapshot_epoch=1234))
    explanation = bench.window.overview.headline.explanation.text()
    assert "took the snapshot of epoch 1,234 from the swarm's door" in explanation


def test_compiled_model_is_said(bench: Bench) -> None:
    *before, ready, _phase, _progress, _round, _saved = TRAINING
    bench.dispatch(*before, msgspec.structs.replace(ready, compiled=True))
    assert bench.window.overview.machine.value("precision") == "bf16, compiled"


@pytest.mark.parametrize(
    ("phase", "words"),
    [(TrainerPhase.TUNING, "Finding the best batch"), (TrainerPhase.COMPILING, "Compiling")],
)
def test_what_is_prepared_is_said(bench: Bench, phase: TrainerPhase, words: str) -> None:
    bench.dispatch(*PREPARING, protocol.PhaseChanged(phase=phase))
    assert bench.window.overview.headline.explanation.text().startswith(words)


def test_while_files_are_read_a_stop_is_offered(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING, ReadingBegan())
    headline = bench.window.overview.headline
    assert headline.explanation.text().startswith("Reading the files")
    assert headline.primary.text() == "Stop training"
    qtbot.mouseClick(headline.primary, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["stop"])


def test_the_peer_id_is_copied_whole(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    qtbot.mouseClick(bench.window.overview.copy, LEFT)
    assert QGuiApplication.clipboard().text() == bench.session.store.state.peer_id


def test_one_can_leave(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*WATCHING)
    qtbot.mouseClick(bench.window.overview.leave, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["leave"])


def test_whoever_trains_is_asked_before_leaving(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    qtbot.mouseClick(bench.window.overview.leave, LEFT)
    box = bench.window.dialogs._shown["leave"]
    assert isinstance(box, QMessageBox)
    assert SWARM.title in box.text()
    qtbot.keyClick(box, Qt.Key.Key_Escape)
    assert bench.session.calls == []
    qtbot.mouseClick(bench.window.overview.leave, LEFT)
    box = bench.window.dialogs._shown["leave"]
    assert isinstance(box, QMessageBox)
    leave = box.defaultButton()
    assert leave is not None
    qtbot.mouseClick(leave, LEFT)
    qtbot.waitUntil(lambda: bench.session.calls == ["leave"])


def test_without_a_swarm_it_says_what_to_do(bench: Bench) -> None:
    page = bench.window.overview
    assert page.welcome.isVisible()
    assert not page.charts.isVisible()
    bench.dispatch(*WATCHING)
    assert not page.welcome.isVisible()
    assert page.charts.isVisible()


def test_reports_are_shown_ten_times_a_second_but_phases_at_once(
    bench: Bench, qtbot: QtBot
) -> None:
    bench.dispatch(*TRAINING)
    told: list[int] = []
    bench.model.changed.connect(lambda state: told.append(state.training.step))
    for step in range(20_000, 20_050):
        bench.session.store.dispatch(progress(step=step))
    assert told == []
    qtbot.waitUntil(lambda: told == [20_049])
    bench.session.store.dispatch(phase(TrainerPhase.PAUSED))
    assert len(told) == 2


def test_a_preparation_that_lasts_says_for_how_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    headline, now = bench.window.overview.headline, 1_000.0
    monkeypatch.setattr("ui.pages.overview.headline.time", SimpleNamespace(monotonic=lambda: now))
    bench.dispatch(*WATCHING, TrainingRequested(device="cpu"))
    assert "so far" not in headline.explanation.text()
    now += 42.0
    headline._countdown.timeout.emit()
    assert "Loading the training software" in headline.explanation.text()
    assert "42 s so far." in headline.explanation.text()
    bench.dispatch(TrainerGone())
    assert not headline._countdown.isActive()
    assert "so far" not in headline.explanation.text()


def test_the_countdown_runs_while_a_restart_is_due(bench: Bench) -> None:
    bench.dispatch(*RESTARTING)
    headline = bench.window.overview.headline
    assert headline._countdown.isActive()
    assert "It starts again in" in headline.explanation.text()
    bench.dispatch(TrainerGone())
    assert bench.session.store.state.phase is Phase.FAILED


def test_training_in_spite_of_the_terms_is_one_click_away(bench: Bench, qtbot: QtBot) -> None:
    headline = bench.window.overview.headline
    bench.dispatch(*HELD_BACK)
    assert headline.snooze.text() == "Train anyway for an hour"
    qtbot.mouseClick(headline.snooze, LEFT)
    qtbot.waitUntil(lambda: bench.session.store.state.lifted_until is not None)
    bench.dispatch(phase(TrainerPhase.TRAINING))
    assert headline.explanation.text().startswith("You let it train until")
    assert headline.snooze.text() == "Pause for an hour"


def test_heat_is_not_to_be_argued_with(bench: Bench) -> None:
    hot = Verdict(reasons=(Reason(term="max_temperature", text="The device is at 90 °C."),))
    bench.dispatch(*TRAINING, TermsJudged(terms=Terms(max_temperature=80), verdict=hot))
    bench.dispatch(phase(TrainerPhase.PAUSED))
    assert not bench.window.overview.headline.snooze.isVisible()


@pytest.mark.parametrize("events", [WAITING, HELD_BACK])
def test_what_holds_training_back_is_said(bench: Bench, events: tuple[Event, ...]) -> None:
    bench.dispatch(*events)
    assert bench.window.overview.headline.explanation.text() == (
        "The computer runs on battery. Training goes on by itself."
    )


def test_terms_are_one_click_away(bench: Bench, qtbot: QtBot) -> None:
    assert not bench.window.overview.headline.terms.isVisible()
    bench.dispatch(*WAITING)
    qtbot.mouseClick(bench.window.overview.headline.terms, LEFT)
    assert bench.window.settings.widget.terms.isVisible()


def test_a_pause_for_a_while_is_counted_down(bench: Bench) -> None:
    bench.dispatch(*TRAINING, PauseChosen(until=time.time() + 3600), phase(TrainerPhase.PAUSED))
    headline = bench.window.overview.headline
    assert headline._countdown.isActive()
    assert headline.explanation.text().startswith("You paused training; ")
    bench.dispatch(PauseEnded())
    assert not headline._countdown.isActive()


def test_closing_says_so_and_takes_no_clicks(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    with qtbot.waitSignal(bench.window.close_wanted):
        bench.window.close()
    assert bench.window.isVisible()
    bench.window.show_closing()
    bench.dispatch(progress(step=1))
    headline = bench.window.overview.headline
    assert headline.title.text() == "Closing…"
    assert not headline.primary.isEnabled()
    assert not bench.window.overview.share.isEnabled()
    bench.window.close()  # a second time: out of sight
    assert not bench.window.isVisible()


def test_titles_of_swarms_are_never_markup(bench: Bench) -> None:
    assert bench.window.overview.headline.task.textFormat() is Qt.TextFormat.PlainText
    assert SWARM.title


def test_what_happened_is_listed_the_newest_first(bench: Bench, qtbot: QtBot) -> None:
    bench.dispatch(*TRAINING)
    bench.dispatch(TrainerGone(problem=Problem(message="signal 9."), restart_at=time.time() + 9))
    card = bench.window.overview.happened.widget
    assert card.isVisible()
    said = [card.model.index(row, 1).data() for row in range(card.model.rowCount())]
    assert said == [
        "The trainer ended unexpectedly: signal 9.",
        "Training began: from its checkpoint of epoch 11",
        f"In the swarm: {SWARM.title}",
    ]
    qtbot.keyClick(card.filter, Qt.Key.Key_Down)
    assert [each.is_trouble for each in card.model.shown] == [True]
    qtbot.waitUntil(lambda: clipped(card) == [])
