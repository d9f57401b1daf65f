"""A tracker of the user's own: used, or explained when it is missing, broken, or doesn't answer."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.trackers.external import ExternalTracker, TrackerFailure, python_of
from app.trackers.point import TrackedPoint
from tests.support.trackers.modules import WRITES_DOWN, calls, install

POINT = TrackedPoint(time=1.0, step=64, values={"loss/this_machine": 2.5})
Start = Callable[..., Awaitable[ExternalTracker | None]]


@pytest.fixture
def failures() -> "asyncio.Queue[TrackerFailure]":
    return asyncio.Queue()


@pytest.fixture
def start(
    tmp_path: Path, failures: "asyncio.Queue[TrackerFailure]", monkeypatch: pytest.MonkeyPatch
) -> Start:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))

    async def start(
        source: str | None = WRITES_DOWN, python: str = sys.executable
    ) -> ExternalTracker | None:
        if source is not None:
            install(tmp_path / "installed", "trackio", source)
        return await ExternalTracker.start(
            "trackio",
            python=python,
            arguments={"project": "cotrain", "name": "a", "group": "run", "config": {"a": 1}},
            folder=tmp_path / "work",
            log_file=tmp_path / "tracker.log",
            on_failure=failures.put_nowait,
        )

    return start


async def test_it_gets_all_points_and_may_finish(start: Start, tmp_path: Path) -> None:
    tracker = await start()
    assert tracker is not None
    for _ in range(3):
        tracker.log(POINT)
    await asyncio.gather(tracker.finish(grace=60.0), tracker.finish(grace=60.0))
    begun, *logged, ended = calls(tmp_path / "work")
    assert begun == {"init": "cotrain", "name": "a", "group": "run", "config": {"a": 1}}
    assert logged == [{"log": {"loss/this_machine": 2.5}, "step": 64}] * 3
    assert ended == {"finish": True}
    assert (tmp_path / "tracker.log").read_text().startswith("noise on stdout")


async def test_a_missing_installation_is_told(
    start: Start, failures: "asyncio.Queue[TrackerFailure]"
) -> None:
    tracker = await start(None)
    failure = await failures.get()
    assert (failure.kind, failure.python) == ("missing", sys.executable)
    assert tracker is not None
    tracker.log(POINT)
    await tracker.finish(grace=60.0)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import none_of_this_name", "ModuleNotFoundError: No module named 'none_of_this_name'"),
        ("raise RuntimeError('no\\x1b[2J key')", "RuntimeError: no\ufffd[2J key"),
        ("def init(**_): raise ValueError('x' * 9999)", f"ValueError: {'x' * 287}…"),
        ("def init(**_): raise SystemExit(3)", "exit status 3"),
        ("def init(**_): input()", "EOFError: EOF when reading a line"),
        ("import os\ndef init(**_): os._exit(7)", "exit status 7"),
        ("import os\ndef init(**_): os.kill(os.getpid(), 9)", "exit status -9"),
        ("def init(**_): pass\ndef log(*_, **__): 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
async def test_what_fails_is_told_once(
    start: Start, failures: "asyncio.Queue[TrackerFailure]", source: str, reason: str
) -> None:
    tracker = await start(source)
    assert tracker is not None
    tracker.log(POINT)
    failure = await failures.get()
    assert failure.kind == "failed"
    assert failure.reason == reason
    tracker.log(POINT)
    await tracker.finish(grace=60.0)
    assert failures.empty()


async def test_a_failure_while_it_finishes_is_nobodys_concern(
    start: Start, failures: "asyncio.Queue[TrackerFailure]"
) -> None:
    tracker = await start("def init(**_): pass\ndef finish(): 1 / 0")
    assert tracker is not None
    await tracker.finish(grace=60.0)
    assert failures.empty()


HANGS = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def init(**_):
    while True: signal.pause()
"""


async def test_one_that_hangs_takes_neither_time_nor_memory(
    start: Start, failures: "asyncio.Queue[TrackerFailure]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.trackers.external.TERM_SECONDS", 0.1)
    tracker = await start(HANGS)
    assert tracker is not None
    for _ in range(20_000):
        tracker.log(POINT)
    assert tracker._process.stdin is not None
    assert tracker._process.stdin.transport.get_write_buffer_size() < 300_000
    await tracker.finish(grace=0.1)
    assert tracker._process.returncode == -9
    assert failures.empty()


@pytest.mark.parametrize("python", ["/nowhere/python", "/dev/null"])
async def test_a_python_that_cant_be_started_is_told(
    start: Start, failures: "asyncio.Queue[TrackerFailure]", python: str
) -> None:
    assert await start(python=python) is None
    failure = failures.get_nowait()
    assert (failure.kind, failure.python) == ("python", python)


@pytest.mark.parametrize("python", ["/bin/true", "/bin/cat"])
async def test_what_is_no_python_is_told(
    start: Start, failures: "asyncio.Queue[TrackerFailure]", python: str
) -> None:
    tracker = await start(python=python)
    assert tracker is not None
    failure = await failures.get()
    assert failure.reason.startswith(("exit status", "{"))
    await tracker.finish(grace=60.0)


def test_the_python_is_the_apps_own_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert python_of("") == sys.executable
    assert python_of("~/venv/bin/python") == str(Path.home() / "venv/bin/python")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert python_of("") == "python3"
