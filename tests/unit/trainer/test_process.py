"""A trainer comes after all else that the machine does, once it trains."""

import os
import subprocess
import sys

import pytest

from app.lifecycle.processes import MAIN
from app.trainer import process

LOWERED = """
import os, subprocess, sys, threading
from app.trainer.process import Priority

def niceness(number):
    return os.getpriority(os.PRIO_PROCESS, number)

priority, over = Priority(), threading.Event()
thread = threading.Thread(target=over.wait)
thread.start()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
everybody = (os.getpid(), thread.native_id, child.pid)
before = [niceness(each) for each in everybody]
priority.lower()
print(*before, *map(niceness, everybody))
over.set()
child.communicate(b"\\n")
"""


def niceness() -> list[int]:
    """Of a trainer, a thread and a child of it, before and after it has lowered its priority."""
    ended = subprocess.run(
        [sys.executable, "-c", LOWERED],
        check=True,
        capture_output=True,
        text=True,
        cwd=MAIN.parent,
        start_new_session=True,
    )
    return [int(each) for each in ended.stdout.split()]


def test_all_of_a_trainer_takes_the_lowest_priority_when_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(process.NICENESS_VARIABLE)
    ours = os.nice(0)
    assert niceness() == [ours] * 3 + [19] * 3


def test_trainer_of_a_test_has_the_priority_of_the_others() -> None:
    assert niceness() == [os.nice(0)] * 6
