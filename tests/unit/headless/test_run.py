"""The terminal's view of a state, and what the arguments lead to."""

import asyncio
import contextlib
import gettext
import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app.backend.errors import NotSignedInError, UnencryptedError, UnreachableError
from app.cli import Arguments
from app.common import i18n, logs
from app.contributions.fates import no_session
from app.headless import run as headless
from app.headless.display import Display, as_json, as_line
from app.p2p.sightings import PartFault, Run
from app.protocol import FileDownload, TrainerPhase, TrainerWarning, Waiting
from app.spec import schema
from app.spec.about import AboutSpec
from app.state.facts import (
    DoorSnapshot,
    Evaluation,
    GeneratedSample,
    MemberFault,
    MemberFaults,
    Problem,
    ReportingState,
    Swarm,
)
from app.state.state import ContributorState, OwnTraining, Phase, Round
from app.terms.terms import Reason, Verdict
from tests.support.backend.server import SmallBackend
from tests.support.callback.pages import joined
from tests.support.processes.sessions import OfflineSession
from tests.support.training.specs import SMALLEST

SWARM = Swarm(run_id="run", title="Run", model_type="gpt2", dataset="builtin", target_batch_size=64)
TRAINING = ContributorState(
    phase=Phase.TRAINING,
    swarm=SWARM,
    addresses=("/ip4/127.0.0.1/tcp/1/p2p/Qm",),
    run=Run(epoch=3, samples=48, trainers=2, samples_per_second=20.0, loss=2.75),
    training=OwnTraining(
        device="cpu", step=5, epoch=4, loss=2.5, samples_per_second=10.25, tokens_per_second=320.0
    ),
)
PROBLEM = Problem(message="is wrong.", field="seed", remedy="Mend it.")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# --- as JSON -------------------------------------------------------------------------------------


def facts(state: ContributorState) -> dict[str, Any]:
    found = json.loads(as_json(state))
    assert found.pop("time") > 0
    return found


def test_json_holds_all_that_is_known() -> None:
    assert facts(TRAINING) == {
        "phase": "training",
        "waiting_for": None,
        "state_download": None,
        "file_download": None,
        "paused_by": [],
        "epoch": 4,
        "step": 5,
        "loss": 2.5,
        "samples_per_second": 10.25,
        "tokens_per_second": 320.0,
        "computing": None,
        "own_steps": None,
        "exchanging": False,
        "bytes_sent": 0,
        "bytes_received": 0,
        "peers": 2,
        "connected": 0,
        "dht_nodes": 0,
        "samples": 48,
        "target_batch_size": 64,
        "swarm_loss": 2.75,
        "evaluation": None,
        "best_evaluation": None,
        "swarm_held_out_loss": None,
        "sample": None,
        "swarm_samples_per_second": 20.0,
        "run_id": "run",
        "about": None,
        "last_round": None,
        "failed_rounds": 0,
        "warnings": [],
        "faults": [],
        "snapshot_epoch": None,
        "snapshot": None,
        "addresses": ["/ip4/127.0.0.1/tcp/1/p2p/Qm"],
        "reconnect_at": None,
        "returning": None,
        "url": None,
        "problem": None,
        "reporting": "off",
        "not_reported": no_session(None),
        "forgotten": 0,
    }


def test_json_is_null_where_nothing_is_known() -> None:
    found = facts(ContributorState())
    known = {name: value for name, value in found.items() if value is not None}
    assert known == {
        "phase": "disconnected",
        "paused_by": [],
        "warnings": [],
        "faults": [],
        "addresses": [],
        "connected": 0,
        "dht_nodes": 0,
        "reporting": "off",
        "forgotten": 0,
    }


def test_what_holds_training_back_is_named_and_said() -> None:
    reason = Reason(term="idle_minutes", text="The computer is in use.")
    held = replace(TRAINING, phase=Phase.PAUSED, verdict=Verdict(reasons=(reason,)))
    assert facts(replace(held, paused_by_user=True))["paused_by"] == ["user", "idle_minutes"]
    assert "paused  The computer is in use." in as_line(held)


@pytest.mark.parametrize(
    ("size", "left", "line"),
    [
        (4 * 10**8, 30.4, "downloading the weights: 120.0 of 400.0 MB, 30 s left"),
        (None, None, "downloading the weights: 120.0 MB"),
    ],
)
def test_what_is_downloaded_is_told(size: int | None, left: float | None, line: str) -> None:
    download = FileDownload(what="weights", received=12 * 10**7, size=size, seconds_left=left)
    found = replace(TRAINING, phase=Phase.PREPARING, download=download)
    assert facts(found)["file_download"] == {
        "what": "weights",
        "received": 12 * 10**7,
        "size": size,
        "seconds_left": left,
    }
    assert facts(found)["state_download"] is None
    assert line in as_line(found).split("  ")
    there = FileDownload(what="weights", received=5, size=5, seconds_left=0.0)
    done = replace(found, download=there)
    assert "downloading" not in as_line(done)


def test_what_the_model_has_learnt_is_told() -> None:
    best = Evaluation(epoch=40, loss=2.0, bits_per_byte=2.5, time=1.0)
    newest = Evaluation(epoch=50, loss=1e6, bits_per_byte=3.25, time=2.0)
    sample = GeneratedSample(epoch=50, prompt="The", text=" end", time=3.0)
    learnt = replace(TRAINING, evaluation=newest, best_evaluation=best, samples=(sample,))
    found = facts(learnt)
    assert found["best_evaluation"]["perplexity"] == pytest.approx(7.389, abs=0.001)
    assert found["evaluation"] == {
        "epoch": 50,
        "loss": 1e6,
        "bits_per_byte": 3.25,
        "perplexity": None,  # JSON has no infinity
        "time": 2.0,
        "tokens": 0,
    }
    assert found["sample"] == {"epoch": 50, "prompt": "The", "text": " end", "time": 3.0}
    assert "unseen text 3.250 bits/byte in epoch 50 (best 2.500 in 40)" in as_line(learnt)


def test_json_has_the_same_fields_always() -> None:
    assert facts(ContributorState()).keys() == facts(TRAINING).keys()


def test_epoch_is_the_runs_until_we_made_a_step() -> None:
    assert facts(replace(TRAINING, training=OwnTraining(device="cpu")))["epoch"] == 3


def test_json_tells_the_whole_problem() -> None:
    assert facts(replace(TRAINING, problem=PROBLEM))["problem"] == "seed: is wrong. Mend it."


def test_what_is_wrong_although_training_goes_on_is_told() -> None:
    full = TrainerWarning(topic="checkpoint", message="The disk is full.", remedy="Make room.")
    last = Round(epoch=3, peers=1, seconds=60.0, failure="no group was found in time", bytes_sent=7)
    assert TRAINING.training is not None
    own = replace(TRAINING.training, warnings=(full,), last_round=last, failed_rounds=2)
    found = facts(replace(TRAINING, training=own))
    assert found["warnings"] == ["The disk is full. Make room."]
    assert found["failed_rounds"] == 2
    assert found["last_round"] == {
        "epoch": 3,
        "peers": 1,
        "seconds": 60.0,
        "bytes_sent": 7,
        "failure": "no group was found in time",
        "samples": 0,
        "arrived": 1.0,
    }
    assert "The disk is full." in as_line(replace(TRAINING, training=own))


def test_time_computing_and_own_steps_are_told() -> None:
    assert TRAINING.training is not None
    own = replace(
        TRAINING.training,
        own_steps=23,
        exchanging=True,
        bytes_sent=10**9,
        training_seconds=200.0,
        waiting_seconds=10.0,
    )
    found = facts(replace(TRAINING, training=own))
    told = [found[name] for name in ("computing", "own_steps", "exchanging", "bytes_sent")]
    assert told == [0.95, 23, True, 10**9]
    assert "computing 95% of the time" in as_line(replace(TRAINING, training=own))


def test_json_names_members_at_fault() -> None:
    fault = MemberFault(
        peer_id="QmBad",
        fault=PartFault.NOT_FINITE,
        count=3,
        epoch=17,
        time=9.0,
        evicted_until=609.0,
    )
    many = replace(TRAINING, faults=MemberFaults(last=(fault,) * 100))
    assert facts(many)["faults"] == 20 * [
        {
            "peer_id": "QmBad",
            "fault": "not-finite",
            "count": 3,
            "epoch": 17,
            "time": 9.0,
            "evicted_until": 609.0,
        }
    ]


def test_json_is_one_line() -> None:
    state = replace(TRAINING, problem=Problem(message="one\ntwo"))
    assert len(as_json(state).splitlines()) == 1


# --- as a line -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (ContributorState(), "disconnected"),
        (
            ContributorState(
                phase=Phase.PREPARING, step_of_preparation=TrainerPhase.PREPARING_DATA
            ),
            "preparing  preparing-data",
        ),
        (
            ContributorState(phase=Phase.WATCHING, run=Run(epoch=3, samples=48, trainers=2)),
            "watching  0 connected  epoch 3  48 samples  2 peers",
        ),
        (
            ContributorState(
                phase=Phase.PREPARING,
                step_of_preparation=TrainerPhase.JOINING,
                waiting=Waiting(whom="doors", seen=1, known=2),
            ),
            "preparing  joining  waiting for the others (1 of 2 doors)",
        ),
        (
            TRAINING,
            "training  epoch 3  48 samples  2 peers  step 5  loss 2.500  10.2 samples/s",
        ),
    ],
    ids=lambda value: value.phase if isinstance(value, ContributorState) else None,
)
def test_line_tells_what_is_known(state: ContributorState, line: str) -> None:
    assert as_line(state) == line


def test_what_the_backend_has_forgotten_or_will_not_get_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display(io.StringIO())
    swarm = replace(SWARM, session_id=None, training_id="uuid")
    reporting = ReportingState(signed_in_as="you@a.b", forgotten=760)
    state = ContributorState(phase=Phase.WATCHING, swarm=swarm, reporting=reporting)
    display.show(state)
    display.show(state)
    unreported, forgotten = capsys.readouterr().err.splitlines()
    assert "its session at the backend has no number" in unreported
    assert "no longer knows 760 contributions" in forgotten
    assert "--refill always" in forgotten
    told = json.loads(as_json(state))
    assert told["forgotten"] == 760
    assert "must put a session_id into" in told["not_reported"]
    assert "760 contributions forgotten by the backend" in as_line(state)
    display.show(replace(state, reporting=replace(reporting, signed_in_as="", forgotten=0)))
    assert not capsys.readouterr().err  # who isn't signed in expects no reports


def test_what_a_swarm_is_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(io.StringIO())
    about = AboutSpec(purpose="Old letters", until=date(2020, 1, 31))
    state = ContributorState(phase=Phase.WATCHING, swarm=replace(SWARM, about=about))
    display.show(state)
    display.show(state)
    purpose, until = capsys.readouterr().err.splitlines()
    assert purpose.endswith("Purpose: Old letters")
    assert until.endswith("2020-01-31, which is past")
    told = json.loads(as_json(state))
    assert told["about"] == {"purpose": "Old letters", "until": "2020-01-31"}


HOSTILE = "<b>\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\n\r" + "x" * 10_000


def test_terminal_obeys_no_text_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    display = Display(stream)
    reason = Reason(term="", text=HOSTILE)
    problem = Problem(message=HOSTILE, field=HOSTILE, remedy=HOSTILE)
    held = ContributorState(phase=Phase.PAUSED, verdict=Verdict(reasons=(reason,)))
    display.show(replace(held, problem=problem))
    headless.say(HOSTILE)
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    ours = stream.getvalue().replace("\r\x1b[K", "")
    for text in (said, ours):
        assert not {"\x1b", "\x9b", "\x07", "\u202e", "\r"} & set(text)
        assert len(text) < 5000
    assert json.loads(as_json(replace(held, problem=problem)))["problem"].startswith("<b>")


# --- the display ---------------------------------------------------------------------------------


def lines(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["phase"] for line in stream.getvalue().splitlines()]


def test_new_phase_is_shown_at_once() -> None:
    stream = io.StringIO()
    display = Display(stream)
    for phase in (Phase.JOINING, Phase.WATCHING, Phase.PREPARING):
        display.show(ContributorState(phase=phase))
    assert lines(stream) == ["joining", "watching", "preparing"]


def test_same_phase_is_not_shown_again_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.headless.display.REPORT_SECONDS", 1e9)
    stream = io.StringIO()
    display = Display(stream)
    display.show(TRAINING)
    display.show(replace(TRAINING, run=None))
    assert lines(stream) == ["training"]


def test_same_phase_is_shown_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.headless.display.REPORT_SECONDS", 0.0)
    stream = io.StringIO()
    display = Display(stream)
    display.show(TRAINING)
    display.show(TRAINING)
    assert lines(stream) == ["training", "training"]


def test_last_state_is_always_shown() -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.show(TRAINING)
    display.close(TRAINING)
    assert lines(stream) == ["training", "training"]


def test_terminal_has_one_line_that_changes() -> None:
    stream = Terminal()
    display = Display(stream)
    display.show(ContributorState(phase=Phase.JOINING))
    display.close(ContributorState(phase=Phase.WATCHING))
    assert stream.getvalue() == "\r\x1b[Kjoining\r\x1b[Kwatching  0 connected\n"


def test_a_lost_swarm_is_said_and_that_it_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(io.StringIO())
    for retry_at in (None, 9.0, 12.0, None, None):
        display.show(replace(TRAINING, reconnect_at=retry_at))
    lost, back = capsys.readouterr().err.splitlines()
    assert "nobody of the swarm" in lost
    assert "again" in back


def test_a_swarm_that_is_left_is_not_back(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(io.StringIO())
    display.show(replace(TRAINING, reconnect_at=9.0))
    display.show(ContributorState())
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_doors_snapshots_are_said_and_who_begins_with_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display(io.StringIO())
    kept = DoorSnapshot(epoch=40, size=2_500_000)
    full = replace(kept, problem="the disk is full")
    for snapshot in (DoorSnapshot(), kept, kept, full, None):
        display.show(ContributorState(snapshot=snapshot))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("the snapshot of epoch 40 is kept (2.5 MB).")
    assert second.endswith("no newer snapshot: the disk is full.")
    began = ContributorState(training=OwnTraining(device="cpu", snapshot_epoch=40))
    display.show(began)
    display.show(began)
    assert capsys.readouterr().err.count("took the snapshot of epoch 40 from the door") == 1
    assert facts(began)["snapshot_epoch"] == 40
    told = facts(ContributorState(snapshot=kept))["snapshot"]
    assert told == {"epoch": 40, "size": 2_500_000, "problem": None}
    assert "snapshot of epoch 40" in as_line(ContributorState(snapshot=kept))


def test_problem_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(io.StringIO())
    for epoch in range(3):
        display.show(replace(TRAINING, problem=PROBLEM, run=Run(epoch=epoch)))
    assert capsys.readouterr().err == "cotrain-contributor: seed: is wrong. Mend it.\n"


def test_problem_that_comes_back_is_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(io.StringIO())
    for problem in (PROBLEM, None, PROBLEM):
        display.show(replace(TRAINING, problem=problem))
    assert capsys.readouterr().err.count("is wrong") == 2


# --- the arguments -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`run` sets the language and the log levels of the whole process."""
    monkeypatch.setattr(i18n, "_catalogues", [gettext.NullTranslations()])
    loggers = [logging.getLogger(name) for name in (None, *logs._CHATTY)]
    levels = [each.level for each in loggers]
    with contextlib.ExitStack() as stack:
        for logger, level in zip(loggers, levels, strict=True):
            stack.callback(logger.setLevel, level)
        stack.callback(logging.captureWarnings, False)
        yield


def run(tmp_path: Path, **fields: Any) -> int:
    return headless.run(Arguments(headless=True, data_dir=tmp_path / "data", **fields))


def test_without_a_swarm_there_is_nothing_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 1
    assert "--swarm" in capfd.readouterr().err


def test_a_door_without_a_swarm_leads_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, bootstrap=True) == 1
    assert "a door needs a swarm. Give --swarm" in capfd.readouterr().err


def test_missing_swarm_file_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "no.cotrain"
    assert run(tmp_path, swarm=str(missing)) == 1
    assert str(missing) in capfd.readouterr().err


def test_wrong_spec_is_named_by_field(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    swarm = tmp_path / "a.cotrain"
    swarm.write_text('{"run_id": "a"}', encoding="utf-8")
    assert run(tmp_path, swarm=str(swarm)) == 1
    assert "model_config: is missing." in capfd.readouterr().err


@pytest.mark.parametrize("mode", [{}, {"bootstrap": True}])
def test_invite_that_names_files_of_this_machine_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: dict[str, Any]
) -> None:
    swarm = tmp_path / "a.cotrain"
    data = {"source": "files", "paths": ["/etc/passwd"]}
    swarm.write_text(json.dumps({**SMALLEST, "dataset_info": data}), encoding="utf-8")
    assert run(tmp_path, swarm=str(swarm), **mode) == 1
    assert "dataset_info.paths: names files of this machine" in capfd.readouterr().err


def test_wrong_link_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, invite="cotrain://join?v=1&spec=abc") == 1
    assert "link: is damaged." in capfd.readouterr().err


def test_wrong_setting_is_a_mistake_in_the_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, overrides={"dht_port": -1}) == 2
    assert "dht_port" in capfd.readouterr().err


def test_damaged_settings_are_named_and_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data" / "settings.json"
    file.parent.mkdir()
    file.write_text("{", encoding="utf-8")
    run(tmp_path)
    said = capfd.readouterr().err
    assert str(file) in said
    assert "nothing to do" in said  # it went on


def test_last_line_of_the_output_is_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["phase"] == "disconnected"


def test_log_is_closed_at_the_end(tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    run(tmp_path)
    assert logging.getLogger().handlers == before
    assert (tmp_path / "data" / "logs" / logs.FILE_NAME).exists()


# --- the account ---------------------------------------------------------------------------------


def test_password_is_taken_from_the_environment_and_no_child_inherits_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COTRAIN_PASSWORD", "a good password")
    assert headless._password("you@example.org") == "a good password"
    assert "COTRAIN_PASSWORD" not in os.environ


def test_password_can_be_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a good password\nand more\n"))
    assert headless._password("you@example.org") == "a good password"


def test_password_is_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    asked: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or "typed")
    assert headless._password("you@example.org") == "typed"
    assert "you@example.org" in asked[0]


def test_without_a_password_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(tmp_path, sign_in="you@example.org") == 2
    assert "COTRAIN_PASSWORD" in capsys.readouterr().err


async def test_account_is_kept_until_it_is_signed_out_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SmallBackend() as backend:
        backend.add_user("you@example.org", "a good password")
        session = OfflineSession(tmp_path / "data", backend_url=backend.url)
        await session.contributions.open()
        await session.account.open()
        signing_in = Arguments(sign_in="you@example.org")
        with pytest.raises(NotSignedInError):
            await headless._see_to_account(signing_in, session, "a wrong one")
        await headless._see_to_account(signing_in, session, "a good password")
        kept = session.folders.account_file.read_text()
        assert "a good password" in kept  # to sign in again when the backend's week is over
        await headless._see_to_account(Arguments(sign_out=True), session, "")
        assert not session.folders.account_file.exists()
        await session.close()
    said = capsys.readouterr().err
    assert f"Signed in to {backend.url} as you@example.org." in said
    assert "a good password" not in said


@pytest.mark.parametrize("allowed", [False, True])
async def test_password_goes_over_plain_http_only_where_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], allowed: bool
) -> None:
    session = OfflineSession(
        tmp_path / "data", backend_url="http://backend.invalid:3001", backend_plain_http=allowed
    )
    await session.contributions.open()
    await session.account.open()
    signing_in = Arguments(sign_in="you@example.org")
    with pytest.raises(UnreachableError if allowed else UnencryptedError) as raised:
        await headless._see_to_account(signing_in, session, "a good password")
    assert raised.value.field == "backend_url"
    await session.close()
    warned = "others can read the password" in capsys.readouterr().err
    assert warned is allowed


# --- its end


async def test_stop_in_the_browser_is_not_the_end_but_a_completed_run_is(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path)
    try:
        joined(session)
        ending = asyncio.ensure_future(headless._end_of_training(session))
        await asyncio.sleep(0)
        session.trainer_ends()
        await asyncio.sleep(0)
        assert session.store.state.phase is Phase.WATCHING
        assert not ending.done()
        joined(session)
        session.trainer_ends(completed=True)
        assert await ending == 0
    finally:
        await session.close()


async def test_training_that_has_failed_is_the_end(tmp_path: Path) -> None:
    session = OfflineSession(tmp_path)
    try:
        joined(session)
        session.trainer_ends("the device is gone.")
        assert await headless._end_of_training(session) == 1
    finally:
        await session.close()


@pytest.mark.parametrize("lab_key", ["", "A" * 43 + "="])
async def test_a_paired_machine_stays_when_training_ends(tmp_path: Path, lab_key: str) -> None:
    session = OfflineSession(tmp_path, lab_key=lab_key)
    await session.swarm.join(schema.parse(SMALLEST))
    await session.training.start()
    ending = asyncio.create_task(headless._end_of_training(session))
    await asyncio.sleep(0)
    session.trainer_ends(completed=True)
    await asyncio.sleep(0)
    assert ending.done() is not bool(lab_key)
    await session.training.start()
    session.trainer_ends("broken.")
    assert await ending == int(bool(lab_key))  # a failure is its service manager's
    await session.swarm.leave()
