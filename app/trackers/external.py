"""Trackio or Weights & Biases as the user has installed it, in a process of the user's own Python.

A process of its own, so that neither what it imports (Gradio; another version of protobuf) nor how
it fails, hangs or crashes can hurt the window or training, and so that a packaged app, which has
no room for further packages, can use it too.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from app.common.plain import one_line
from app.trackers.point import TrackedPoint

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("child.py")

MOST_UNREAD = 256 * 1024
"""Bytes that wait for a process that doesn't read. Points that come then are dropped."""

TERM_SECONDS = 2.0

FailureKind = Literal["missing", "failed", "python"]
"""The module isn't installed; it failed; or Python itself can't be started."""


@dataclass(frozen=True, kw_only=True)
class TrackerFailure:
    """Why nothing is tracked any more."""

    kind: FailureKind
    python: str
    reason: str
    """The tracker's own words, on one line."""


def python_of(setting: str) -> str:
    """The Python that has the tracker; by default, the one that runs this app from source."""
    if setting:
        return str(Path(setting).expanduser())
    if getattr(sys, "frozen", False):
        return shutil.which("python3") or "python3"
    return sys.executable


class ExternalTracker:
    """The running process. Made by `start`, ended by `finish`.

    on_failure: called at most once, and not for an end that `finish` asked for.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        python: str,
        on_failure: Callable[[TrackerFailure], None],
    ) -> None:
        self._process = process
        self._python = python
        self._on_failure = on_failure
        self._finishing = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        module: str,
        *,
        python: str,
        arguments: dict[str, Any],
        folder: Path,
        log_file: Path,
        on_failure: Callable[[TrackerFailure], None],
    ) -> "ExternalTracker | None":
        """Start the process; None, after ``on_failure``, when there is no such Python.

        module: with the functions ``init``, ``log`` and ``finish``. arguments: for ``init``.
        folder: where it may write files, its working directory. log_file: gets what it prints.
        """
        try:
            with await asyncio.to_thread(_prepare, folder, log_file) as printed:
                process = await _spawn([python, str(CHILD)], folder=folder, printed=printed)
        except OSError as error:
            reason = error.strerror or str(error)
            on_failure(TrackerFailure(kind="python", python=python, reason=reason))
            return None
        made = cls(process, python=python, on_failure=on_failure)
        made._send({"module": module, "arguments": arguments})
        return made

    def log(self, point: TrackedPoint) -> None:
        """Pass a point on; returns at once."""
        self._send({"values": point.values, "step": point.step})

    def _send(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if not stdin.is_closing() and stdin.transport.get_write_buffer_size() < MOST_UNREAD:
            stdin.write(json.dumps(message).encode() + b"\n")

    async def finish(self, *, grace: float) -> None:
        """Let it upload what it has, then end it. May be called twice, also at the same time.

        grace: seconds until it is terminated.
        """
        self._finishing = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        for end, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, TERM_SECONDS)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(self._reading)
                    return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, end)
        await self._reading

    async def _read(self) -> None:
        """Read its reports until it has ended."""
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        kind: FailureKind = "failed"
        reason = ""
        async for report in _reports(self._process.stdout):
            match report:
                case {"ready": str(version)}:
                    log.info("the tracker has begun, version %s", one_line(version, most=40))
                case {"problem": "missing" | "failed" as kind, "reason": str(reason)}:
                    pass
        self._process.stdin.close()
        status = await self._process.wait()
        if not self._finishing:
            reason = one_line(reason or f"exit status {status}", most=300)
            self._on_failure(TrackerFailure(kind=kind, python=self._python, reason=reason))


def _prepare(folder: Path, log_file: Path) -> BinaryIO:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log_file.open("wb")


async def _spawn(
    command: Sequence[str], *, folder: Path, printed: BinaryIO
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=printed,
        cwd=folder,
        start_new_session=True,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """Ours; of a packaged app, without the folder of its own libraries."""
    found = dict(os.environ)
    if getattr(sys, "frozen", False):
        before = found.pop("LD_LIBRARY_PATH_ORIG", "")  # PyInstaller keeps the user's there
        found.pop("LD_LIBRARY_PATH", None)
        found |= {"LD_LIBRARY_PATH": before} if before else {}
    return found


async def _reports(stream: asyncio.StreamReader) -> AsyncIterator[object]:
    """What the process says. Other lines are left out: a start-up file of Python may print."""
    while True:
        with contextlib.suppress(ValueError):  # no JSON, or a line without an end
            if not (line := await stream.readline()):
                return
            yield json.loads(line)
