"""The trainer process seen from the app, with a small real child in its place."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from app import protocol
from app.common import i18n
from app.common.errors import TrainerError
from app.p2p.network import Network
from app.protocol import EndReason, Report
from app.training import oom_kills, supervisor
from app.training.oom_kills import LOOKS
from app.training.supervisor import Outcome, Trainer, probe_devices

WAIT = 20.0  # seconds for what must happen; a failing test waits them all
T = TypeVar("T")

PRELUDE = f"""
import json, os, signal, subprocess, sys

def say(kind, **fields):
    print(json.dumps({{"type": kind, **fields}}), flush=True)

def commands():
    for line in sys.stdin:
        yield json.loads(line)

def hang():
    say("Hello", version={protocol.VERSION}, pid=os.getpid())
    while True:
        signal.pause()
"""

OBEDIENT = f"""
say("Hello", version={protocol.VERSION}, pid=os.getpid())
for command in commands():
    say("Ack", id=command["id"])
    if command["type"] == "Stop":
        say("Ended", reason="stopped")
        break
"""


class Ear:
    """Hears reports, and waits for one."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._changed = asyncio.Event()

    def __call__(self, report: Report) -> None:
        self.reports.append(report)
        self._changed.set()

    async def hear(self, kind: type[T]) -> T:
        """The first report of a kind."""
        while True:
            for report in self.reports:
                if isinstance(report, kind):
                    return report
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT)


@pytest.fixture(autouse=True)
def last_words_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "REPORTS_SECONDS", WAIT)
    monkeypatch.setattr(supervisor, "LOG_SECONDS", WAIT)


@pytest.fixture
async def ear() -> Ear:
    return Ear()


Spawn = Callable[[str], Awaitable[Trainer]]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says which program is the trainer."""

    def is_this(program: str) -> None:
        file = tmp_path / "child.py"
        file.write_text(PRELUDE + program, encoding="utf-8")
        # -S: it needs no site-packages, and starts the sooner
        command = [sys.executable, "-S", str(file)]
        monkeypatch.setattr(supervisor, "command_line", lambda *rest: [*command, *rest])

    return is_this


@pytest.fixture
async def spawn(child: Callable[[str], None], ear: Ear) -> AsyncIterator[Spawn]:
    """Starts a program as the trainer; it is killed at the end of the test."""
    made: list[Trainer] = []

    async def start(program: str) -> Trainer:
        child(program)
        made.append(await Trainer.spawn(on_report=ear))
        return made[-1]

    yield start
    for trainer in made:
        trainer._signal_group(signal.SIGKILL)
        await ended(trainer)


async def ended(trainer: Trainer) -> Outcome:
    return await asyncio.wait_for(trainer.outcome(), WAIT)


# --- what it says --------------------------------------------------------------------------------


async def test_reports_arrive_in_order(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn("for number in range(100): say('Ack', id=number)")
    await ended(trainer)
    assert ear.reports == [protocol.Ack(id=number) for number in range(100)]


async def test_last_words_are_heard_though_it_is_gone(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn("say('TrainerProblem', message='full.'); say('Ended', reason='failed')")
    outcome = await ended(trainer)
    assert ear.reports == [
        protocol.TrainerProblem(message="full."),
        protocol.Ended(reason=EndReason.FAILED),
    ]
    assert outcome.reason is EndReason.FAILED


async def test_it_is_started_as_a_trainer(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn("say('TrainerProblem', message=' '.join(sys.argv[1:]))")
    await ended(trainer)
    assert (await ear.hear(protocol.TrainerProblem)).message == "--trainer"


async def test_it_is_told_our_language(
    spawn: Spawn, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i18n, "spoken", lambda: "zh_CN")
    trainer = await spawn(f"say('TrainerProblem', message=os.environ['{i18n.VARIABLE}'])")
    await ended(trainer)
    assert (await ear.hear(protocol.TrainerProblem)).message == "zh_CN"


async def test_it_leads_a_process_group_of_its_own(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    hello = await ear.hear(protocol.Hello)
    assert (hello.pid, os.getpgid(hello.pid)) == (trainer.pid, trainer.pid)


@pytest.mark.parametrize("size", [64 * 1024, 1024 * 1024])
async def test_long_line_arrives_whole(spawn: Spawn, ear: Ear, size: int) -> None:
    trainer = await spawn(f"say('TrainerProblem', message='x' * {size})")
    await ended(trainer)
    assert len((await ear.hear(protocol.TrainerProblem)).message) == size


@pytest.mark.logs_error("trainer said something unknown")
@pytest.mark.parametrize("noise", ["Loading: 100%", "", "{}", '{"type":"Stop","id":1}', "ä€\0"])
async def test_noise_is_logged_and_it_goes_on(spawn: Spawn, ear: Ear, noise: str) -> None:
    trainer = await spawn(f"print({noise!r}); say('Ack', id=7)")
    await ended(trainer)
    assert ear.reports == [protocol.Ack(id=7)]


async def test_its_log_is_ours(spawn: Spawn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trainer = await spawn(
        "sys.stderr.buffer.write(b'WARNING app.x: slow\\nprinted \\xff\\n'); sys.stderr.flush()"
    )
    await ended(trainer)
    assert caplog.record_tuples[:2] == [
        ("trainer.app.x", logging.WARNING, "slow"),
        ("trainer", logging.INFO, "printed \N{REPLACEMENT CHARACTER}"),
    ]


async def test_flood_on_stderr_does_not_block_it(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(
        "for _ in range(5000): sys.stderr.write('x' * 99 + '\\n')\nsay('Ack', id=1)"
    )
    await ended(trainer)
    assert ear.reports == [protocol.Ack(id=1)]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_line_without_an_end_is_no_end(
    child: Callable[[str], None], ear: Ear, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(supervisor, "MAX_LINE_BYTES", 1000)
    child(f"sys.{stream}.write('x' * 5000); sys.{stream}.flush()")
    trainer = await Trainer.spawn(on_report=ear)
    assert (await ended(trainer)).returncode == 0


# --- what it is told -----------------------------------------------------------------------------


async def test_command_returns_when_it_took_effect(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    await trainer.command(protocol.Pause)
    assert isinstance(ear.reports[-1], protocol.Ack)


async def test_commands_may_overlap(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    await asyncio.gather(*(trainer.command(protocol.Pause) for _ in range(20)))
    acknowledged = [report.id for report in ear.reports if isinstance(report, protocol.Ack)]
    assert acknowledged == list(range(1, 21))


async def test_command_arrives_with_its_fields(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(
        "order = next(commands()); say('Ack', id=order['id'])\n"
        "say('TrainerProblem', message=order['device'], field=order['type'])"
    )
    await trainer.command(
        protocol.Start,
        spec={},
        initial_peers=(),
        identity_file="",
        checkpoint_dir="",
        cache_dir="",
        device="cuda:3",
        threads=1,
        network=Network(listen=(), local=True),
    )
    assert await ear.hear(protocol.TrainerProblem) == protocol.TrainerProblem(
        message="cuda:3", field="Start"
    )


async def test_only_its_own_answer_ends_a_command(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(
        "ids = {next(commands())['type']: number for number in (1, 2)}\n"
        "say('Ack', id=999); say('Ack', id=ids['Resume'])\n"
        "say('PhaseChanged', phase='paused'); hang()"
    )
    first = asyncio.create_task(trainer.command(protocol.Pause))
    await trainer.command(protocol.Resume)
    await ear.hear(protocol.PhaseChanged)
    assert not first.done()
    trainer._signal_group(signal.SIGKILL)
    with pytest.raises(TrainerError):
        await first


@pytest.mark.parametrize("end", ["sys.exit(3)", "next(commands()); os.kill(os.getpid(), 9)"])
async def test_command_fails_when_it_ends_first(spawn: Spawn, end: str) -> None:
    trainer = await spawn(end)
    with pytest.raises(TrainerError, match="before it answered"):
        await asyncio.wait_for(trainer.command(protocol.Pause), WAIT)
    await ended(trainer)


async def test_command_after_the_end_fails(spawn: Spawn) -> None:
    trainer = await spawn("")
    await ended(trainer)
    with pytest.raises(TrainerError):
        await asyncio.wait_for(trainer.command(protocol.Pause), WAIT)


@pytest.mark.logs_error("could not be handled")
async def test_command_fails_even_when_a_report_was_our_undoing(
    child: Callable[[str], None],
) -> None:
    def fail(_report: Report) -> None:
        raise RuntimeError("a defect of ours")

    child(f"next(commands()); say('Hello', version={protocol.VERSION}, pid=1)")
    trainer = await Trainer.spawn(on_report=fail)
    command = asyncio.create_task(trainer.command(protocol.Pause))
    assert (await ended(trainer)).returncode == 0
    with pytest.raises(TrainerError):
        await command


# --- how it ends ---------------------------------------------------------------------------------

BEFORE = [
    protocol.TrainerProblem(message="full."),
    protocol.TrainerProblem(message="bug", expected=False),
]


@pytest.mark.parametrize(
    ("outcome", "unexpected", "text"),
    [
        (Outcome(returncode=0, reason=EndReason.STOPPED), False, None),
        (Outcome(returncode=0, reason=EndReason.COMPLETED), False, None),
        (Outcome(returncode=1, reason=EndReason.FAILED, problem=BEFORE[0]), False, "full."),
        (Outcome(returncode=1, reason=EndReason.FAILED, problem=BEFORE[1]), True, "bug"),
        (Outcome(returncode=3), True, "exit status 3"),
        (Outcome(returncode=-11), True, "signal 11"),
        (Outcome(returncode=-9, problem=BEFORE[0]), True, "full."),
    ],
)
def test_outcome_tells_whether_it_was_expected(
    outcome: Outcome, unexpected: bool, text: str | None
) -> None:
    assert outcome.unexpected is unexpected
    if text is not None:
        assert text in outcome.text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_child_killed_by_a_signal_is_unexpected(spawn: Spawn, number: signal.Signals) -> None:
    trainer = await spawn(f"os.kill(os.getpid(), {number:d}); hang()")
    outcome = await ended(trainer)
    assert (outcome.returncode, outcome.unexpected) == (-number, True)
    assert f"signal {number:d}" in outcome.text


CONTROL_GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.mark.skipif(not os.access(CONTROL_GROUPS, os.W_OK), reason="no control group can be made")
async def test_child_that_the_kernel_kills_for_its_memory_is_not_started_again(
    spawn: Spawn,
) -> None:
    group = CONTROL_GROUPS / f"cotrain-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 * 2**20))
        trainer = await spawn(f"open('{group}/cgroup.procs', 'w').write('0'); bytearray(2**30)")
        outcome = await ended(trainer)
    finally:
        group.rmdir()
    assert outcome.returncode == -signal.SIGKILL
    assert outcome.text == "the machine's memory ran out, and the system ended the trainer."
    assert not outcome.unexpected


@pytest.mark.parametrize(
    ("looks", "by_us", "unexpected"),
    [(0, False, False), (LOOKS, False, True), (0, True, True)],
    ids=["just now", "long ago", "killed by us"],
)
async def test_the_kernels_kill_of_another_process_is_no_matter(
    spawn: Spawn,
    ear: Ear,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: int,
    by_us: bool,
    unexpected: bool,
) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("oom_kill 3\n", encoding="ascii")
    monkeypatch.setattr(oom_kills, "KERNEL_COUNTERS", counters)
    trainer = await spawn("hang()")
    await ear.hear(protocol.Hello)
    counters.write_text("oom_kill 4\n", encoding="ascii")
    for _ in range(looks):
        trainer._heartbeat.look()
    if by_us:
        trainer.kill()
    else:
        os.kill(trainer.pid, signal.SIGKILL)
    assert (await ended(trainer)).unexpected is unexpected


async def test_child_that_leaves_without_a_word_is_unexpected(spawn: Spawn) -> None:
    outcome = await ended(await spawn("sys.exit(3)"))
    assert (outcome.unexpected, "exit status 3" in outcome.text) == (True, True)


async def test_outcome_is_for_many_and_for_later(spawn: Spawn) -> None:
    trainer = await spawn("say('Ended', reason='completed')")
    early = await asyncio.gather(ended(trainer), ended(trainer))
    assert {*early, await ended(trainer)} == {Outcome(returncode=0, reason=EndReason.COMPLETED)}


async def test_who_stops_waiting_does_not_stop_the_others(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    impatient = asyncio.create_task(trainer.outcome())
    await ear.hear(protocol.Hello)
    impatient.cancel()
    assert (await trainer.stop(grace=WAIT)).reason is EndReason.STOPPED


GRANDCHILD = f"""
inner = subprocess.Popen(["sleep", "600"])
say("Hello", version={protocol.VERSION}, pid=inner.pid)
"""


@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), 9)"])
async def test_what_it_started_ends_with_it(spawn: Spawn, ear: Ear, end: str) -> None:
    await ended(await spawn(GRANDCHILD + end))
    assert gone((await ear.hear(protocol.Hello)).pid)


def gone(pid: int) -> bool:
    """It has ended, whether or not somebody has asked how; waits for what is on its way out."""
    deadline = time.monotonic() + WAIT
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


# --- the ladder ----------------------------------------------------------------------------------

STUBBORN = {
    "ignores the stop": ("hang()", -signal.SIGTERM),
    "never reads": (
        f"say('Hello', version={protocol.VERSION}, pid=1)\nwhile True: pass",
        -signal.SIGTERM,
    ),
    "ignores SIGTERM": ("signal.signal(15, signal.SIG_IGN); hang()", -signal.SIGKILL),
    "leaves at SIGTERM": (
        "signal.signal(15, lambda *_: (say('Ended', reason='stopped'), os._exit(0))); hang()",
        0,
    ),
}


async def test_asked_to_stop_it_stops(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    await ear.hear(protocol.Hello)
    outcome = await trainer.stop(grace=WAIT)
    assert outcome == Outcome(returncode=0, reason=EndReason.STOPPED)


async def test_end_of_its_input_stops_it(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn("for _ in commands(): pass\nsay('Ended', reason='abandoned')")
    assert (await trainer.stop(grace=WAIT)).reason is EndReason.ABANDONED


@pytest.mark.parametrize(("program", "returncode"), STUBBORN.values(), ids=STUBBORN)
async def test_stubborn_child_is_ended_all_the_same(
    spawn: Spawn, ear: Ear, monkeypatch: pytest.MonkeyPatch, program: str, returncode: int
) -> None:
    heeds_sigterm = returncode != -signal.SIGKILL
    monkeypatch.setattr(supervisor, "TERM_GRACE_SECONDS", WAIT if heeds_sigterm else 0.3)
    trainer = await spawn(program)
    await ear.hear(protocol.Hello)
    assert (await trainer.stop(grace=0.05)).returncode == returncode


async def test_every_rung_is_logged(
    spawn: Spawn, ear: Ear, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(supervisor, "TERM_GRACE_SECONDS", 0.05)
    trainer = await spawn("signal.signal(15, signal.SIG_IGN); hang()")
    await ear.hear(protocol.Hello)
    await trainer.stop(grace=0.05)
    rungs = ["trainer asked to stop", "trainer terminated", "trainer killed"]
    assert [each for each in caplog.messages if each in rungs] == rungs


async def test_stop_after_the_end_tells_how_it_was(spawn: Spawn) -> None:
    trainer = await spawn("say('Ended', reason='completed')")
    outcome = await ended(trainer)
    assert await trainer.stop(grace=WAIT) == outcome


async def test_stop_may_be_asked_for_twice(spawn: Spawn, ear: Ear) -> None:
    trainer = await spawn(OBEDIENT)
    await ear.hear(protocol.Hello)
    first, second = await asyncio.gather(trainer.stop(grace=WAIT), trainer.stop(grace=WAIT))
    assert first == second == Outcome(returncode=0, reason=EndReason.STOPPED)


async def test_stop_ends_what_it_started(
    spawn: Spawn, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = await spawn(GRANDCHILD + "hang()")
    hello = await ear.hear(protocol.Hello)
    await trainer.stop(grace=0.05)
    assert gone(hello.pid)


# --- the devices ---------------------------------------------------------------------------------


async def test_devices_are_asked_for(child: Callable[[str], None]) -> None:
    child(
        "assert sys.argv[1:] == ['--trainer', '--devices']\n"
        "say('Devices', devices=[{'id': 'cpu', 'name': 'CPU', 'memory': 1}], torch_version='2')"
    )
    found = await asyncio.wait_for(probe_devices(), WAIT)
    assert found.devices == (protocol.Device(id="cpu", name="CPU", memory=1),)


async def test_failed_probe_says_how_it_ended(child: Callable[[str], None]) -> None:
    child("sys.exit(5)")
    with pytest.raises(TrainerError, match="exit status 5") as caught:
        await asyncio.wait_for(probe_devices(), WAIT)
    assert caught.value.field == "device"
