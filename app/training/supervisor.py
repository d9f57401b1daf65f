"""The trainer process seen from the app: spawn it, talk to it, end it. Its end is a value,
`Outcome`, never an exception."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from app import pipe, protocol
from app.common import i18n
from app.common.background import survived
from app.common.errors import ProtocolError, TrainerError
from app.common.i18n import _
from app.common.logs import log_child_line
from app.lifecycle.processes import command_line
from app.protocol import Command, EndReason, Report
from app.training.heartbeat import Heartbeat
from app.training.oom_kills import OomKills

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is dropped; asyncio's default of 64 KiB is too short for some reports."""

STOP_GRACE_SECONDS = 30.0
"""Enough for an averaging round that can't be cancelled any more, and a checkpoint."""

TERM_GRACE_SECONDS = 2.0

REPORTS_SECONDS, LOG_SECONDS = 5.0, 0.5
"""How long a dead trainer's pipes are read. A process that left the trainer's group may hold them
open: PyTorch's shared-memory manager keeps stderr for two seconds, and writes nothing."""

ReportHandler = Callable[[Report], None]
C = TypeVar("C", bound=Command)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trainer ended."""

    returncode: int
    """Its exit status, or minus the number of the signal that killed it, as in `subprocess`."""
    reason: EndReason | None = None
    """The reason in its last report; None when it ended without one."""
    problem: protocol.TrainerProblem | None = None
    """Why it failed, if it reported that."""

    @property
    def unexpected(self) -> bool:
        """It gave no reason, or failed with something that the user can't fix."""
        return self.reason is None or (self.problem is not None and not self.problem.expected)

    @property
    def text(self) -> str:
        """What happened, for the user."""
        if self.problem is not None:
            return self.problem.message
        if self.returncode < 0:
            return _("The trainer stopped unexpectedly (signal {number}).").format(
                number=-self.returncode
            )
        return _("The trainer stopped unexpectedly (exit status {status}).").format(
            status=self.returncode
        )


class _ExitProtocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Sets ``exited`` when the process itself has ended.

    `asyncio.subprocess.Process.wait` also waits until the pipes are closed, and child processes
    that a killed trainer leaves behind keep them open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=MAX_LINE_BYTES, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class Trainer:
    """A running trainer process. Made by `spawn`; `outcome` tells how it ended."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        transport: asyncio.SubprocessTransport,
        exited: asyncio.Event,
        name: str,
        on_report: ReportHandler,
    ) -> None:
        self._process = process
        self._transport = transport
        self._exited = exited
        self._on_report = on_report
        self._log = logging.getLogger(name)
        self._name = name
        self._ids = itertools.count(1)
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._reason: EndReason | None = None
        self._problem: protocol.TrainerProblem | None = None
        self._oom_kills = OomKills()
        self._killed = False  # by us
        self._heartbeat = Heartbeat(
            process.pid, report=on_report, end=self.kill, look_too=self._oom_kills.look
        )
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def spawn(
        cls, *, on_report: ReportHandler, name: str = "trainer", arguments: tuple[str, ...] = ()
    ) -> "Trainer":
        """Start a new interpreter in its own process group, which speaks the app's language.

        on_report: called with each report. name: of the logger that gets its stderr. arguments:
        command-line options for the trainer.

        Raises `OSError` when it can't be started.
        """
        loop = asyncio.get_running_loop()
        transport, watching = await loop.subprocess_exec(
            lambda: _ExitProtocol(loop),
            *command_line("--trainer", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, i18n.VARIABLE: i18n.spoken()},
        )
        process = asyncio.subprocess.Process(transport, watching, loop)
        return cls(
            process,
            transport=transport,
            exited=watching.exited,
            name=name,
            on_report=on_report,
        )

    @property
    def pid(self) -> int:
        """The process id, which is its process group's id as well."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """The process and all that it started are gone, and its reports are read."""
        return self._watching.done()

    async def outcome(self) -> Outcome:
        """Wait for its end. May be awaited by several tasks."""
        return await asyncio.shield(self._watching)

    async def command(self, kind: type[C], **fields: Any) -> None:
        """Send a command and wait until it took effect.

        Raises `TrainerError` when the trainer ends first.
        """
        if self.has_ended:
            raise TrainerError(_("The trainer has ended."))
        number = next(self._ids)
        acknowledged = asyncio.get_running_loop().create_future()
        self._acks[number] = acknowledged
        await self._send(kind(id=number, **fields))
        await acknowledged

    async def _send(self, command: Command) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(ConnectionError):  # `outcome` tells that it has ended
            stdin.write(pipe.encode(command))
            await stdin.drain()

    async def stop(self, grace: float = STOP_GRACE_SECONDS) -> Outcome:
        """End it: a stop message and closed stdin, then SIGTERM, then SIGKILL to its group.

        grace: seconds until SIGTERM.
        """
        await self._send(protocol.Stop(id=next(self._ids)))
        if self._process.stdin is not None:
            self._process.stdin.close()
        for what, seconds in (("asked to stop", grace), ("terminated", TERM_GRACE_SECONDS)):
            self._log.info("%s %s", self._name, what)
            if what == "terminated":
                self._signal_group(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self.outcome()
        self._log.warning("%s killed", self._name)
        self.kill()
        return await self.outcome()

    def kill(self) -> None:
        """Kill its process group, now."""
        self._killed = True
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _watch(self) -> Outcome:
        """Read its reports and log until it has ended, then kill what it left behind."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        reports = asyncio.create_task(self._read_reports(self._process.stdout))
        logged = asyncio.create_task(self._read_log(self._process.stderr))
        beating = asyncio.create_task(self._heartbeat.watch())
        await self._exited.wait()
        beating.cancel()
        self._signal_group(signal.SIGKILL)  # p2pd and forked averagers outlive a killed trainer
        for reading, seconds in ((reports, REPORTS_SECONDS), (logged, LOG_SECONDS)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await reading
        self._transport.close()
        returncode = await self._process.wait()
        self._fail_open_commands()
        killed = returncode == -signal.SIGKILL and not self._killed and not self._problem
        if killed and self._oom_kills.any_just_now:
            self._reason, self._problem = EndReason.FAILED, _out_of_memory()
        outcome = Outcome(returncode=returncode, reason=self._reason, problem=self._problem)
        self._log.info("%s ended: %s", self._name, outcome)
        return outcome

    async def _read_reports(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            # a listener may fail; the reports after this one must still be read
            with survived(self._log, "a report of %s could not be handled", self._name):
                try:
                    self._handle(pipe.decode_report(line))
                except ProtocolError:
                    self._log.exception("%s said something unknown", self._name)

    def _handle(self, report: Report) -> None:
        self._heartbeat.beat(regular=self._is_regular(report))
        match report:
            case protocol.Ack(id=number):
                if (waiting := self._acks.pop(number, None)) and not waiting.done():
                    waiting.set_result(None)
            case protocol.Hello(version=version) if version != protocol.VERSION:
                self._reason, self._problem = EndReason.FAILED, _other_version()
                self.kill()
            case protocol.Ended(reason=reason):
                self._reason = reason
            case protocol.TrainerProblem():
                self._problem = report
        self._on_report(report)

    def _is_regular(self, report: Report) -> bool:
        is_leaving = isinstance(report, protocol.PhaseChanged) and (
            report.phase is protocol.TrainerPhase.STOPPING
        )
        return not is_leaving and (self._heartbeat.regular or isinstance(report, protocol.Progress))

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            log_child_line(self._name, line.decode(errors="replace").rstrip("\n"))

    def _fail_open_commands(self) -> None:
        for waiting in self._acks.values():
            if not waiting.done():
                waiting.set_exception(TrainerError(_("The trainer ended before it answered.")))
                waiting.exception()  # marks it as retrieved, or asyncio would log it
        self._acks.clear()


def _out_of_memory() -> protocol.TrainerProblem:
    return protocol.TrainerProblem(
        message=_("the machine's memory ran out, and the system ended the trainer."),
        field="terms.max_memory",
        remedy=_("Close other programs, allow less memory, or join a swarm with a smaller model."),
    )


def _other_version() -> protocol.TrainerProblem:
    return protocol.TrainerProblem(
        message=_("the trainer is of another version: the app was updated while it ran."),
        remedy=_("Close the app and start it again."),
    )


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, without those longer than `MAX_LINE_BYTES`."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # too long; the reader has dropped it
            continue
        if not line:
            return
        yield line


async def probe_devices() -> protocol.Devices:
    """Ask torch, in a trainer process, which devices it can use.

    Raises `TrainerError` when that process fails.
    """
    found: list[protocol.Devices] = []

    def keep(report: Report) -> None:
        if isinstance(report, protocol.Devices):
            found.append(report)

    trainer = await Trainer.spawn(on_report=keep, arguments=("--devices",))
    try:
        outcome = await trainer.outcome()
    except asyncio.CancelledError:
        trainer.kill()
        raise
    if not found:
        raise TrainerError(outcome.text, field="device", remedy=_("See the log for details."))
    return found[0]
