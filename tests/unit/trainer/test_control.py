"""The trainer's ear: commands from a pipe become wishes that the loop looks at."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import pipe, protocol
from app.p2p.network import Network
from app.protocol import Ack, Ended, EndReason, Report, TrainerProblem
from app.trainer.control import Control

WAIT = 20.0  # seconds for what must happen; a failing test waits them all

START = protocol.Start(
    id=1,
    spec={"run_id": "run"},
    initial_peers=(),
    identity_file="",
    checkpoint_dir="",
    cache_dir="",
    device="cpu",
    threads=1,
    network=Network(listen=(), local=True),
)


class App:
    """The app's end of the pipe, and the control at the other. `killed`: what would have been."""

    def __init__(self, killed: list[tuple[int, int]]) -> None:
        reading, self._writing = os.pipe()
        self.heard: list[Report] = []
        self.killed = killed
        self.interrupted = threading.Event()
        before = set(threading.enumerate())
        self.control = Control(reading, self.heard.append)
        (self._thread,) = set(threading.enumerate()) - before

    def say(self, *commands: protocol.Command) -> None:
        self.write(b"".join(pipe.encode(each) for each in commands))

    def write(self, line: bytes) -> None:
        os.write(self._writing, line)

    def leave(self) -> None:
        """Close our end, and wait until all that was said is heard."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        self._thread.join(WAIT)
        assert not self._thread.is_alive()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Nobody is killed in here, only noted."""
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *call: calls.append(call))
    yield calls
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):  # the deadline of who is abandoned
            thread.cancel()
            thread.join(WAIT)


@pytest.fixture
def app(killed: list[tuple[int, int]]) -> Iterator[App]:
    made = App(killed)
    yield made
    made.leave()  # before killpg is the real one again


@pytest.fixture
def training(app: App) -> App:
    """The loop runs: a stop interrupts it, and nobody leaves at once."""
    app.control.interrupt = app.interrupted.set
    return app


def soon(wait: object) -> object:
    """What a waiting call returns, in a time that fails the test rather than hangs it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(wait).result(WAIT)  # type: ignore[arg-type]


# --- start ---------------------------------------------------------------------------------------


def test_start_is_the_order(training: App) -> None:
    training.say(START)
    assert soon(training.control.wait_for_start) == START


def test_stop_before_the_start_is_no_order(training: App) -> None:
    training.say(protocol.Stop(id=1))
    assert soon(training.control.wait_for_start) is None


def test_who_is_abandoned_before_the_start_has_no_order(training: App) -> None:
    training.leave()
    assert soon(training.control.wait_for_start) is None


def test_command_may_come_in_pieces(training: App) -> None:
    line = pipe.encode(START)
    training.write(line[:10])
    training.write(line[10:-1])
    training.write(line[-1:])
    assert soon(training.control.wait_for_start) == START


# --- pause and resume ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "wanted"),
    [
        ([], False),
        ([protocol.Pause(id=1)], True),
        ([protocol.Pause(id=1), protocol.Resume(id=2)], False),
        ([protocol.Resume(id=1)], False),
        ([protocol.Pause(id=1), protocol.Pause(id=2), protocol.Resume(id=3)], False),
        ([protocol.Pause(id=1), protocol.Resume(id=2), protocol.Pause(id=3)], True),
        ([protocol.Pause(id=1), protocol.Stop(id=2)], False),
        ([protocol.Stop(id=1), protocol.Pause(id=2)], False),
    ],
)
def test_pause_is_wanted(training: App, commands: list[protocol.Command], wanted: bool) -> None:
    training.say(*commands, START)
    with training.control._changed:
        assert training.control._changed.wait_for(lambda: training.control._start, WAIT)
    assert training.control.pause_wanted is wanted


@pytest.mark.parametrize("command", [protocol.Resume(id=2), protocol.Stop(id=2)])
def test_rest_ends_when_told(training: App, command: protocol.Command) -> None:
    training.say(protocol.Pause(id=1))
    with ThreadPoolExecutor(1) as pool:
        resting = pool.submit(training.control.wait_for_resume, lambda: None)
        training.say(command)
        resting.result(WAIT)


def test_rest_ends_when_the_app_is_gone(training: App) -> None:
    training.say(protocol.Pause(id=1))
    with ThreadPoolExecutor(1) as pool:
        resting = pool.submit(training.control.wait_for_resume, lambda: None)
        training.leave()
        resting.result(WAIT)


# --- acknowledging -------------------------------------------------------------------------------


def test_a_long_rest_is_told_and_a_later_pause_may_make_it_long(training: App) -> None:
    long = threading.Event()
    training.say(protocol.Pause(id=1, free_after=WAIT * 10))
    with training.control._changed:
        assert training.control._changed.wait_for(lambda: training.control.pause_wanted, WAIT)
    with ThreadPoolExecutor(1) as pool:
        resting = pool.submit(training.control.wait_for_resume, long.set)
        assert not long.is_set()
        training.say(protocol.Pause(id=2, free_after=0.0))
        assert long.wait(WAIT)
        training.say(protocol.Resume(id=3))
        resting.result(WAIT)


def test_work_is_followed_by_a_wait_for_its_share_of_the_time(training: App) -> None:
    assert training.control.breathe(1000.0) == 0.0
    training.say(protocol.Pace(id=1, share=0.5))
    training.leave()
    training.control.stopping = False
    assert training.control.is_paced
    assert training.control.breathe(0.05) >= 0.05


def test_a_wait_ends_when_the_app_wants_something_else(training: App) -> None:
    training.say(protocol.Pace(id=1, share=0.01))
    with ThreadPoolExecutor(1) as pool:
        training.say(protocol.Pause(id=2))
        assert pool.submit(training.control.breathe, 1000.0).result(WAIT) < WAIT


def test_nothing_is_acknowledged_before_it_is_done(training: App) -> None:
    training.say(START, protocol.Pause(id=2))
    training.leave()
    assert training.heard == []


def test_all_that_was_asked_is_acknowledged_in_order(training: App) -> None:
    training.say(START, protocol.Pause(id=2), protocol.Resume(id=3))
    training.leave()
    training.control.acknowledge()
    assert training.heard == [Ack(id=1), Ack(id=2), Ack(id=3)]


def test_each_command_is_acknowledged_once(training: App) -> None:
    training.say(START)
    training.leave()
    training.control.acknowledge()
    training.control.acknowledge()
    assert training.heard == [Ack(id=1)]


# --- stop, and the end of the app ----------------------------------------------------------------


def test_stop_interrupts_the_loop(training: App) -> None:
    training.say(START, protocol.Stop(id=2))
    assert training.interrupted.wait(WAIT)
    assert (training.control.stopping, training.control.abandoned) == (True, False)


def test_pause_interrupts_nothing(training: App) -> None:
    training.say(START, protocol.Pause(id=2), protocol.Resume(id=3))
    assert soon(training.control.wait_for_start) == START
    assert not training.interrupted.is_set()


def test_end_of_the_app_interrupts_the_loop(training: App) -> None:
    training.leave()
    assert training.interrupted.is_set()
    assert (training.control.stopping, training.control.abandoned) == (True, True)


def test_input_that_ends_after_a_stop_is_no_abandonment(training: App) -> None:
    training.say(protocol.Stop(id=1))
    training.leave()
    assert (training.control.stopping, training.control.abandoned) == (True, False)


def test_who_is_abandoned_has_a_deadline(training: App) -> None:
    training.leave()
    (deadline,) = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    deadline.function(*deadline.args, **deadline.kwargs)
    assert training.killed == [(os.getpgrp(), signal.SIGKILL)]


def test_who_was_told_to_stop_has_no_deadline(training: App) -> None:
    training.say(protocol.Stop(id=1))
    training.leave()
    assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


@pytest.mark.parametrize("said", [b"", b'{"type":"Pause","id":1'])
def test_command_that_is_cut_off_is_not_obeyed(training: App, said: bytes) -> None:
    training.write(said)
    training.leave()
    training.control.acknowledge()
    assert training.heard == []


# --- leaving at once -----------------------------------------------------------------------------


def test_stop_while_nothing_is_trained_ends_at_once(app: App) -> None:
    app.say(START, protocol.Stop(id=2))
    app.leave()
    assert app.heard == [Ack(id=1), Ack(id=2), Ended(reason=EndReason.STOPPED)]
    assert app.killed == [(os.getpgrp(), signal.SIGKILL)]


def test_abandoned_while_nothing_is_trained_it_ends_at_once(app: App) -> None:
    app.leave()
    assert app.heard == [Ended(reason=EndReason.ABANDONED)]
    assert app.killed == [(os.getpgrp(), signal.SIGKILL)]


def test_failure_is_told_before_the_end(app: App) -> None:
    app.control.interrupt = app.interrupted.set
    app.control.fail_at_once(TrainerProblem(message="hangs."))
    assert app.heard == [TrainerProblem(message="hangs."), Ended(reason=EndReason.FAILED)]
    assert app.killed == [(os.getpgrp(), signal.SIGKILL)]


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.logs_error("ignored a command")
@pytest.mark.parametrize(
    "noise", [b"\n", b"stop\n", b'{"type":"Ack","id":1}\n', b'{"type":"Stop"}\n', b"\xff\n"]
)
def test_noise_is_logged_and_the_next_command_obeyed(training: App, noise: bytes) -> None:
    training.write(noise)
    training.say(START)
    assert soon(training.control.wait_for_start) == START
    assert not training.control.stopping
