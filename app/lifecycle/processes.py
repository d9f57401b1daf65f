"""Find the app's own processes by a token in their environment, and end them with the app.

Hivemind's p2pd and its forked DHT and averaging processes outlive a parent that is killed. Each
run of the app therefore puts a secret token into the environment of its children. The guardian, a
small process beside the app, waits until the app has ended for whatever reason, gives the trainers
`GRACE_SECONDS` to write a checkpoint, and kills every process that still has the token. If the
guardian was killed too, the next start of the app does the same (`sweep_last_run`).
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.common.paths import ROOT, write_atomically

if TYPE_CHECKING:
    import psutil

TOKEN = "COTRAIN_INSTANCE"
"""Name of the environment variable that marks our processes."""

GRACE_SECONDS = 6.0
"""How long the guardian waits for trainers to end by themselves after the app's end."""

FREEING_SECONDS = 15.0
"""Longest wait for ``torch_shm_manager``, which ends two seconds after its last client; a busy
machine may run it late."""

MAIN = ROOT / "main.py"


def command_line(*arguments: str) -> list[str]:
    """The command that starts another process of this app, from source or frozen."""
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    return [sys.executable, str(MAIN), *arguments]


def mark_children(file: Path) -> str:
    """Create this run's token, put it into our environment and the file; returns it.

    Children inherit the environment. The next start reads the file (`sweep_last_run`).
    """
    token = secrets.token_hex(16)
    write_atomically(file, token.encode())
    os.environ[TOKEN] = token
    return token


def start_guardian(token: str) -> "subprocess.Popen[bytes]":
    """Start the guardian, which begins its work when its stdin is closed.

    The caller keeps the handle and closes ``stdin`` last, after all its other clean-up.
    """
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    return subprocess.Popen(
        command_line("--guardian", token),
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )


def guard(token: str) -> int:
    """Run the guardian: wait for the app's end, then for the trainers, then kill the rest.

    Returns the exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(_marked(token, _is_trainer)):
        time.sleep(0.2)
    sweep(token)
    return 0


def sweep(token: str) -> list[int]:
    """Kill the trainers and p2pd processes that carry the token; returns their ids.

    ``torch_shm_manager`` is spared: it frees the trainers' shared memory, which would otherwise
    stay in use until a reboot, and ends by itself two seconds after its last client.
    """
    killed = []
    for process in _marked(token, _is_our_program):
        with contextlib.suppress(_no_such_process()):
            process.kill()
            killed.append(process.pid)
    return killed


def sweep_last_run(file: Path) -> list[int]:
    """Kill the processes that the last run left behind; returns their ids.

    Call this only with the data folder locked, which proves that the last run has ended.
    """
    try:
        token = file.read_text(errors="replace").strip()
    except FileNotFoundError:
        return []
    return sweep(token) if len(token) == 32 else []


def remove_dead_sockets(folder: Path) -> list[Path]:
    """Delete hivemind's dead sockets in a folder; returns their paths.

    Hivemind always puts its sockets into /tmp and each run leaves some. A socket is deleted when
    it belongs to this user and no process listens on it.
    """
    removed = []
    for path in folder.glob("hivemind-p2p*.sock"):
        with contextlib.suppress(OSError):  # another user's, or deleted meanwhile
            if path.stat().st_uid == os.getuid() and _nobody_listens(path):
                path.unlink()
                removed.append(path)
    return removed


def _nobody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def wait_for_freed_memory() -> None:
    """Wait until the trainers' shared memory is freed, `FREEING_SECONDS` at most.

    For an app that a service manager stops: it kills ``torch_shm_manager`` as soon as the app has
    ended, and the memory would stay in use.
    """
    import psutil

    token = os.environ.get(TOKEN, "")
    psutil.wait_procs([*_marked(token, _frees_memory)], timeout=FREEING_SECONDS)


def _frees_memory(process: "psutil.Process") -> bool:
    return process.name() == "torch_shm_manager"


def _marked(token: str, matches: "Callable[[psutil.Process], bool]") -> "Iterator[psutil.Process]":
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token and matches(process):
                yield process


def _is_our_program(process: "psutil.Process") -> bool:
    """False for a browser or file manager that the window opened: it inherited the token too."""
    return process.name() == "p2pd" or _is_trainer(process)


def _is_trainer(process: "psutil.Process") -> bool:
    return "--trainer" in process.cmdline()


def _no_such_process() -> type[Exception]:
    import psutil

    return psutil.Error
