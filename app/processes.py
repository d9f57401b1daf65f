"""Our own processes, and only ours: found by a token in their environment, ended with the app.

Hivemind's p2pd and its forked DHT and averaging processes outlive a parent that is killed.
Each run of the app therefore has a secret token in the environment of all that it starts. The
guardian, a tiny process beside the app, waits for the app's end by whatever cause, gives the
trainers a moment to write their checkpoint, and ends what still carries the token. A run that
lost even its guardian is swept at the next start.
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

from app.paths import write_atomically

if TYPE_CHECKING:
    import psutil

TOKEN = "COTRAIN_INSTANCE"
"""Name of the environment variable that marks our processes."""

GRACE_SECONDS = 6.0
"""How long a trainer may take to leave by itself once the app is gone."""

FREEING_SECONDS = 15.0
"""``torch_shm_manager`` lets two pass after the last process that it served, and a busy machine
may run it late."""

MAIN = Path(__file__).parent.parent / "main.py"


def command_line(*arguments: str) -> list[str]:
    """How to start another process of this app, from source or frozen."""
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    return [sys.executable, str(MAIN), *arguments]


def mark_children(file: Path) -> str:
    """Give this run its token: children inherit it, and the file keeps it for the next start."""
    token = secrets.token_hex(16)
    write_atomically(file, token.encode())
    os.environ[TOKEN] = token
    return token


def start_guardian(token: str) -> "subprocess.Popen[bytes]":
    """Start the guardian. It lives as long as its stdin is open: keep the handle, and close
    its ``stdin`` last of all."""
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    return subprocess.Popen(
        command_line("--guardian", token),
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )


def guard(token: str) -> int:
    """The guardian process: wait for the app's end, then for the trainers', then end the rest."""
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
    """Kill all processes that carry the token; returns their ids.

    Not ``torch_shm_manager``: it frees the memory that they shared, which would else stay taken
    until the machine is restarted, and ends by itself two seconds after the last of them.
    """
    killed = []
    for process in _marked(token, _is_our_program):
        with contextlib.suppress(_no_such_process()):
            process.kill()
            killed.append(process.pid)
    return killed


def sweep_last_run(file: Path) -> list[int]:
    """End what the last run left behind, if it left anything; returns the process ids.

    Call with the data folder locked: the last run is over then for certain.
    """
    try:
        token = file.read_text(errors="replace").strip()
    except FileNotFoundError:
        return []
    return sweep(token) if len(token) == 32 else []


def remove_dead_sockets(folder: Path) -> list[Path]:
    """Remove the sockets in a folder that hivemind's processes have left: of this user, and nobody
    listens. Each run would leave some more; hivemind always puts them into /tmp."""
    removed = []
    for path in folder.glob("hivemind-p2p*.sock"):
        with contextlib.suppress(OSError):  # somebody else's, or gone in the meantime
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
    """Wait until what our trainers shared is free, for some seconds at most. For an app that a
    service manager stops, which kills what still runs once we have ended."""
    import psutil

    token = os.environ.get(TOKEN, "")
    psutil.wait_procs([*_marked(token, _frees_memory)], timeout=FREEING_SECONDS)


def _frees_memory(process: "psutil.Process") -> bool:
    return process.name() == "torch_shm_manager"


def _marked(token: str, is_meant: "Callable[[psutil.Process], bool]") -> "Iterator[psutil.Process]":
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token and is_meant(process):
                yield process


def _is_our_program(process: "psutil.Process") -> bool:
    """Not a browser or file manager that the window opened and that inherited the token."""
    return process.name() == "p2pd" or _is_trainer(process)


def _is_trainer(process: "psutil.Process") -> bool:
    return "--trainer" in process.cmdline()


def _no_such_process() -> type[Exception]:
    import psutil

    return psutil.Error
