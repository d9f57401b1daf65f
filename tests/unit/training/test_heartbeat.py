"""A trainer that falls silent is seen, whatever it does meanwhile; a real process in its place."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from app.protocol import TrainerWarning
from app.training import heartbeat
from app.training.heartbeat import LOST_SECONDS, SILENT_SECONDS, Heartbeat

SLEEPS = "import signal; print(flush=True); signal.pause()"


class Watched:
    """A heartbeat of a process, on a clock of its own."""

    def __init__(self, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = process
        self.now = 1000.0
        self.told: list[str] = []
        self.ended = 0
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: self.now)
        self.looked_too = 0
        self.heart = Heartbeat(
            process.pid, report=self._note, end=self._end, look_too=self._look_too
        )

    def _look_too(self) -> None:
        self.looked_too += 1

    def _note(self, warning: TrainerWarning) -> None:
        assert warning.topic == "silent"
        self.told.append(warning.message)

    def _end(self) -> None:
        self.ended += 1

    def silence(self, seconds: float) -> None:
        self.heart.look()
        self.now += seconds
        self.heart.look()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            os.sched_yield()
        yield Watched(process, monkeypatch)
        process.kill()


def test_regular_reports_are_no_matter(watched: Watched) -> None:
    for _ in range(5):
        watched.heart.beat(regular=True)
        watched.silence(SILENT_SECONDS / 2)
    assert not watched.told
    assert watched.looked_too == 10


def test_one_that_does_not_answer_is_told_once_and_cleared(watched: Watched) -> None:
    watched.heart.beat(regular=True)
    watched.silence(SILENT_SECONDS)
    watched.silence(SILENT_SECONDS)
    watched.heart.beat(regular=True)
    assert watched.told == ["The trainer doesn't answer.", ""]
    assert not watched.ended


def test_one_that_prepares_for_long_is_no_matter(watched: Watched) -> None:
    watched.heart.beat(regular=False)
    watched.silence(2 * LOST_SECONDS)
    assert not watched.told
    assert not watched.ended


@pytest.mark.parametrize("regular", [True, False])
def test_a_stopped_one_is_told_and_ended_in_the_end(watched: Watched, *, regular: bool) -> None:
    os.kill(watched.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, watched.process.pid, os.WSTOPPED | os.WNOWAIT)
    watched.heart.beat(regular=regular)
    watched.silence(SILENT_SECONDS)
    assert watched.told == ["The trainer was halted by another program, and computes nothing."]
    assert not watched.ended
    watched.silence(LOST_SECONDS)
    assert watched.ended


def test_a_starved_one_is_told_and_left_alone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    # without a busy machine: the system says that it is ready to compute, and gets no time
    monkeypatch.setattr(psutil.Process, "status", lambda _self: psutil.STATUS_RUNNING)
    watched.heart.beat(regular=True)
    watched.silence(SILENT_SECONDS)
    watched.silence(2 * LOST_SECONDS)
    assert watched.told == [
        "Other programs use the whole processor: training hardly gets any time."
    ]
    assert not watched.ended


def test_one_that_is_gone_is_no_matter(watched: Watched) -> None:
    watched.process.kill()
    watched.process.wait()
    watched.heart.beat(regular=True)
    watched.silence(2 * LOST_SECONDS)
    assert not watched.told
    assert not watched.ended
