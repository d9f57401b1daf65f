"""What holds for every test: its own home, and nothing left behind.

A test fails when it leaves a child process or a non-daemon thread, or when it logs an ERROR that
it didn't announce with ``@pytest.mark.logs_error("pattern")``.
"""

import contextlib
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# No test may write into the keyring of whoever runs it, nor find one that another test made up.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

# Both hold examples to a time by the clock, which a busy machine doesn't keep.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

# Every process that a test starts inherits this, so that it is known even when its parent is gone.
MARK = "COTRAIN_TEST_RUN"
os.environ[MARK] = str(os.getpid())

GRACE = 30.0  # seconds for processes and threads that are on their way out
# Helpers of Python and torch that live until the interpreter ends.
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "torch_shm_manager")
FOREIGN_SETTINGS = (
    "PORT",
    "DEBUG",
    "BACKEND_URL",
    "HF_HOME",
    "HF_TOKEN",
    "LANGUAGE",
    "LC_ALL",
    "LC_MESSAGES",
    "LANG",
)


# --- a home of its own ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short: the name of a Unix socket has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ct-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, its XDG folders inside it, and no setting from outside."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name, place in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_CACHE_HOME", ".cache"),
    ):
        monkeypatch.setenv(name, str(folder / place))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_folder))
    for name in list(os.environ):
        ours = name.startswith(("HIVEMIND_", "COTRAIN_")) and name != MARK
        if ours or name in FOREIGN_SETTINGS:
            monkeypatch.delenv(name)
    # A trainer at the lowest priority gets one or two hundredths of a core beside a busy process.
    monkeypatch.setenv("COTRAIN_NICENESS", "0")  # app.trainer.process
    return folder


# --- nothing left behind -------------------------------------------------------------------------


def is_left_over(process: psutil.Process, *, descendants: set[int]) -> bool:
    """Whether a living process comes from this run: by descent, or, orphaned, by its mark."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if any(helper in " ".join(process.cmdline()) for helper in HELPERS):
            return False
        return process.pid in descendants or process.environ().get(MARK) == os.environ[MARK]
    except psutil.Error:  # it ended meanwhile, or is somebody else's
        return False


def left_processes(before: set[int]) -> list[psutil.Process]:
    """The processes of this run that weren't there before."""
    new = []
    for pid in set(psutil.pids()) - before - {os.getpid()}:
        with contextlib.suppress(psutil.NoSuchProcess):
            new.append(psutil.Process(pid))
    if not new:
        return []  # as after nearly every test: to look for descendants reads all of /proc
    descendants = {child.pid for child in psutil.Process().children(recursive=True)}
    return [process for process in new if is_left_over(process, descendants=descendants)]


def describe_and_kill(processes: list[psutil.Process]) -> list[str]:
    """Name what is left, and end it, so that the next test starts clean."""
    names = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            names.append(f"process {process.pid}: {' '.join(process.cmdline())[:300]}")
            process.kill()
    psutil.wait_procs(processes, timeout=GRACE)
    return names


def left_threads(before: set[threading.Thread]) -> list[str]:
    """The non-daemon threads that weren't there before and don't end by themselves."""
    new = [each for each in threading.enumerate() if each not in before and not each.daemon]
    deadline = time.monotonic() + GRACE
    for thread in new:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [f"thread {thread.name}" for thread in new if thread.is_alive()]


@contextlib.contextmanager
def nothing_left(whose: str) -> Iterator[None]:
    """Fail when more processes or threads live at the end than did at the start."""
    processes, threads = set(psutil.pids()), set(threading.enumerate())
    yield
    _, alive = psutil.wait_procs(left_processes(processes), timeout=GRACE)
    left = describe_and_kill(alive) + left_threads(threads)
    if left:
        pytest.fail(f"{whose} left behind:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_by_the_session() -> Iterator[None]:
    """Catches what fixtures of a wider scope leave, which no single test can be blamed for."""
    with nothing_left("The session"):
        yield


@pytest.fixture(autouse=True)
def nothing_left_by_the_test(
    nothing_left_by_the_session: None, home: Path, request: pytest.FixtureRequest
) -> Iterator[None]:
    """No processes, threads or unannounced errors outlive a test."""
    with nothing_left("The test"), only_announced_errors(request.node):
        yield


# --- no stray errors in the log ------------------------------------------------------------------


@contextlib.contextmanager
def only_announced_errors(test: pytest.Item) -> Iterator[None]:
    """Fail for each ERROR without a ``logs_error`` mark, and for each such mark without an ERROR.

    Looks into `logging.Logger.handle`, as loggers that don't propagate (hivemind's) or whose
    handlers are set up anew (ours) would slip past a handler.
    """
    seen: list[str] = []
    original = logging.Logger.handle

    def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            seen.append(f"{record.name}: {record.getMessage()}")
        original(logger, record)

    logging.Logger.handle = handle  # type: ignore[method-assign]
    try:
        yield
    finally:
        logging.Logger.handle = original  # type: ignore[method-assign]
    patterns = [mark.args[0] for mark in test.iter_markers("logs_error")]
    stray = [text for text in seen if not any(re.search(each, text) for each in patterns)]
    if stray:
        pytest.fail("Unexpected errors in the log:\n" + "\n".join(stray), pytrace=False)
    absent = [each for each in patterns if not any(re.search(each, text) for text in seen)]
    if absent:
        pytest.fail(f"These errors were announced but not logged: {absent}", pytrace=False)
