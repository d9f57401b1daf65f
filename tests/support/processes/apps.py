"""Real apps on a tiny swarm of this machine: a model of some thousand parameters, on loopback."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from tests.support.network.networks import Host

ROOT = Path(__file__).parents[3]
PATIENCE = 300.0  # seconds for what takes some, on a busy machine of two cores

Line = dict[str, Any]


def tiny_spec(**changes: Any) -> dict[str, Any]:
    """A spec whose epoch takes a second or two, so that a joiner can catch up; ``changes`` replace
    its top-level parts."""
    return {
        "run_id": "tiny",
        "local": True,
        "model_config": {
            "model_type": "gpt2",
            "n_layer": 1,
            "n_head": 2,
            "n_embd": 32,
            "n_positions": 64,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
        "training_params": {
            "target_batch_size": 4096,
            "micro_batch_size": 4,
            "sequence_length": 32,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            "evaluation": {"every_epochs": 0},
            "averaging": {
                "compression": "none",
                "matchmaking_seconds": 2.0,
                "timeout_seconds": 8.0,
                "record_seconds": 10.0,
            },
        },
        "dataset_info": {"source": "builtin"},
    } | changes


def lone_spec(**changes: Any) -> dict[str, Any]:
    """The tiny spec with epochs so short that nobody could join in: for a peer that stays alone."""
    return tiny_spec(training_params=training(target_batch_size=512)) | changes


def training(**changes: Any) -> dict[str, Any]:
    """The tiny spec's ``training_params`` with some of them changed."""
    return tiny_spec()["training_params"] | changes


class App:
    """A headless app in its own process; its progress lines are the events to wait for."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[Line] = []
        self.errors = ""
        self._changed = asyncio.Condition()
        self._reading = asyncio.gather(self._read_lines(), self._read_errors())

    @property
    def last(self) -> Line:
        return self.lines[-1]

    async def _read_lines(self) -> None:
        assert self.process.stdout is not None
        while raw := await self.process.stdout.readline():
            async with self._changed:
                self.lines.append(json.loads(raw))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while raw := await self.process.stderr.readline():
            async with self._changed:
                self.errors += raw.decode()
                self._changed.notify_all()

    async def said(self, text: str) -> None:
        """Wait until it has said a text, and the rest of that line, on stderr."""

        def found() -> bool:
            return "\n" in self.errors.partition(text)[2] or self._reading.done()

        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(found), PATIENCE)
        assert text in self.errors, self.errors

    async def wait_for(self, is_it: Callable[[Line], bool], *, after: int = 0) -> Line:
        """The first line from ``after`` on for which ``is_it`` holds."""

        def found() -> Line | None:
            return next((line for line in self.lines[after:] if is_it(line)), None)

        def over() -> bool:
            return found() is not None or self._reading.done()

        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(over), PATIENCE)
        line = found()
        assert line is not None, f"it ended first: {self.lines[-1:]} {self.errors}"
        return line

    async def trains(self, *, epoch: int = 0, peers: int = 1) -> Line:
        """Wait until it trains, in such an epoch and with so many peers."""
        return await self.wait_for(
            lambda line: (
                line["phase"] == "training"
                and (line["epoch"] or 0) >= epoch
                and (line["peers"] or 0) >= peers
                and line["loss"] is not None
            )
        )

    async def ends(self) -> int:
        """Its exit status, once it has ended and all that it said is read."""
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await asyncio.wait_for(self._reading, PATIENCE)
        return status

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ends()

    def trainer(self) -> psutil.Process:
        """Its trainer's main process."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if "--trainer" in child.cmdline())

    async def logs(self, text: str) -> None:
        """Wait until its log holds a text; each progress line is a reason to look again."""
        await self.wait_for(lambda _line: text in self.log(), after=len(self.lines) - 1)

    def log(self) -> str:
        return (self.folder / "logs" / "contributor.log").read_text()


async def start_app(
    folder: Path, *arguments: str, host: Host | None = None, code: Path = ROOT
) -> App:
    """Start a headless app, on a host of its own if one is given. code: the checkout."""
    command = (
        *(sys.executable, str(code / "main.py"), "--headless", "--threads", "1"),
        *("--callback-port", "0", "--data-dir", str(folder), *arguments),
    )
    process = await asyncio.create_subprocess_exec(
        *(host.within(*command) if host else command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    return App(process, folder)


StartApp = Callable[..., Awaitable[App]]


def running_parts() -> list[psutil.Process]:
    """All trainers and p2pd of this test run that live now."""
    parts = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            ours = process.environ().get("COTRAIN_TEST_RUN") == os.environ["COTRAIN_TEST_RUN"]
            if ours and (process.name() == "p2pd" or "--trainer" in process.cmdline()):
                parts.append(process)
    return parts


def group_of(process: psutil.Process) -> int:
    """The process group, 0 when it has ended."""
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0


def gone_within(seconds: float, processes: list[psutil.Process]) -> bool:
    """Wait for the end of processes; False if one outlives the time."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def shared_memory(trainer: int) -> list[Path]:
    """The memory that a trainer's processes share, by the trainer's id."""
    return list(Path("/dev/shm").glob(f"torch_{trainer}_*"))


def freed_within(seconds: float, trainer: int) -> bool:
    """Wait until that memory is free: torch's helper does it once all of them are gone."""
    deadline = time.monotonic() + seconds
    while shared_memory(trainer) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not shared_memory(trainer)
