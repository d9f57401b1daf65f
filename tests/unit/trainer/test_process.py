"""A trainer comes after all else that the machine does."""

import os
import subprocess
import sys

import pytest

from app.lifecycle.processes import MAIN
from app.trainer import process

STEP_BACK = "import os; from app.trainer import process as p; p.step_back(); print(os.nice(0))"


def niceness() -> int:
    """A trainer's, once it has stepped back; in a session of its own, as all of it steps back."""
    ended = subprocess.run(
        [sys.executable, "-c", STEP_BACK],
        check=True,
        capture_output=True,
        text=True,
        cwd=MAIN.parent,
        start_new_session=True,
    )
    return int(ended.stdout)


def test_trainer_has_the_lowest_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(process.NICENESS_VARIABLE)
    assert niceness() == 19


def test_trainer_of_a_test_has_the_priority_of_the_others() -> None:
    assert niceness() == os.nice(0)
