"""Whoever ends a trainer from outside doesn't end the run; a crash loop does."""

import signal

from app.protocol import EndReason, TrainerProblem
from app.training.patience import MOST_CRASHES, RESTART_SECONDS, STEADY_SECONDS, Patience
from app.training.supervisor import Outcome

KILLED = Outcome(returncode=-signal.SIGKILL)
CRASHED = Outcome(returncode=-signal.SIGSEGV)
BROKEN = Outcome(
    returncode=1,
    reason=EndReason.FAILED,
    problem=TrainerProblem(message="ValueError: no", expected=False),
)


def waits(outcome: Outcome, *, lived: float = 8.0, times: int) -> list[float | None]:
    patience = Patience()
    return [patience.wait_after(outcome, lived=lived) for _ in range(times)]


def test_killed_from_outside_it_is_started_for_ever() -> None:
    found = waits(KILLED, times=50)
    assert found[: len(RESTART_SECONDS)] == list(RESTART_SECONDS)
    assert set(found[len(RESTART_SECONDS) :]) == {RESTART_SECONDS[-1]}


def test_crash_loop_is_given_up() -> None:
    for outcome in (CRASHED, BROKEN):
        assert waits(outcome, times=MOST_CRASHES)[-2:] == [RESTART_SECONDS[MOST_CRASHES - 2], None]


def test_crash_after_a_steady_run_begins_anew() -> None:
    assert set(waits(CRASHED, lived=STEADY_SECONDS + 1, times=50)) == {RESTART_SECONDS[0]}


def test_a_restart_that_came_to_nothing_is_tried_for_ever_and_is_no_crash() -> None:
    patience = Patience()
    found = [patience.wait_without_start() for _ in range(50)]
    assert found[: len(RESTART_SECONDS)] == list(RESTART_SECONDS)
    assert found[-1] == RESTART_SECONDS[-1]
    assert not patience.exhausted
    assert patience.wait_after(CRASHED, lived=STEADY_SECONDS + 1) == RESTART_SECONDS[0]


def test_two_kills_between_crashes_do_not_use_up_the_patience() -> None:
    patience = Patience()
    for outcome in (KILLED, KILLED, CRASHED, CRASHED, CRASHED):
        assert patience.wait_after(outcome, lived=8.0) is not None
    assert not patience.exhausted
