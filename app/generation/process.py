"""The process that writes texts, seen from the app."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app import pipe, protocol
from app.common import i18n
from app.common.background import survived
from app.common.errors import GenerationError
from app.common.i18n import _
from app.common.logs import log_child_line
from app.generation_messages import (
    MOST_PROMPT,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    Generate,
    GenerationCommand,
    GenerationEnded,
    OpenModel,
    StopGenerating,
    TextGenerated,
    WeightsLoaded,
    decode_report,
)
from app.lifecycle.processes import command_line

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""How long it may take to end by itself."""

_MAX_LINE_BYTES = 2**20
"""Of a report, or of a line of its log."""

Written = WeightsLoaded | TextGenerated | GenerationEnded
"""What comes of a text: first whose weights write it, last its end, between them its pieces."""


@dataclass(frozen=True, kw_only=True)
class WantedText:
    """A text that somebody wants."""

    prompt: str = ""
    """What the text begins with; of a longer one than `MOST_PROMPT`, its end."""

    temperature: float = 0.8
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""

    tokens: int = 200
    """How many to write at most."""

    def __post_init__(self) -> None:
        assert 0 <= self.temperature <= MOST_TEMPERATURE
        assert 1 <= self.tokens <= MOST_TOKENS


class WritingProcess:
    """A process with a model of its own. Made by `spawn`."""

    def __init__(self, process: asyncio.subprocess.Process, order: OpenModel) -> None:
        self.order = order
        """What it has opened."""
        self._process = process
        self._written: asyncio.Queue[Written | None] = asyncio.Queue()
        self._problem: protocol.TrainerProblem | None = None
        self._following = asyncio.create_task(self._follow())

    @classmethod
    async def spawn(cls, order: OpenModel, *, debug: bool = False) -> "WritingProcess":
        """Start it in a group of its own, and let it open a model. Raises `GenerationError`."""
        options = ("--debug",) if debug else ()
        try:
            process = await asyncio.create_subprocess_exec(
                *command_line("--trainer", "--generate", *options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,
                env={**os.environ, i18n.VARIABLE: i18n.spoken()},
            )
        except OSError as error:
            text = _("the process that writes texts can't be started: {reason}.")
            raise GenerationError(text.format(reason=error)) from error
        made = cls(process, order)
        made._tell(order)
        return made

    @property
    def has_ended(self) -> bool:
        """It can't write any more."""
        return self._following.done()

    async def write(self, wanted: WantedText) -> AsyncIterator[Written]:
        """Write a text to its end. Raises `GenerationError` when the process ends first."""
        prompt = wanted.prompt.encode("utf-8", "replace").decode()  # it may hold half a pair
        self._tell(
            Generate(
                prompt=prompt[-MOST_PROMPT:], temperature=wanted.temperature, tokens=wanted.tokens
            )
        )
        while (report := await self._written.get()) is not None:
            yield report
            if isinstance(report, GenerationEnded):
                return
        raise self._error()

    def end_text(self) -> None:
        """Ask it to end the text that it writes, which then ends as usual."""
        self._tell(StopGenerating())

    def _tell(self, command: GenerationCommand) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():  # else its end is noticed by who reads
            self._process.stdin.write(pipe.encode(command))

    async def _follow(self) -> None:
        """Read its reports and its log until it has ended."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        logged = asyncio.create_task(_log(self._process.stderr))
        async for line in self._process.stdout:
            with survived(log, "a report of the process that writes texts can't be handled"):
                self._take(line)
        await logged
        await self._process.wait()
        self._written.put_nowait(None)

    def _take(self, line: bytes) -> None:
        match report := decode_report(line):
            case protocol.TrainerProblem():
                self._problem = report
            case protocol.Hello(version=version) if version != protocol.VERSION:
                self._problem = protocol.TrainerProblem(
                    message=_("the app was updated while it ran."),
                    remedy=_("Close the app and start it again."),
                )
                self.kill()
            case WeightsLoaded() | TextGenerated() | GenerationEnded():
                self._written.put_nowait(report)

    def _error(self) -> GenerationError:
        """Why it has ended."""
        problem = self._problem
        if problem is not None:
            return GenerationError(problem.message, field=problem.field, remedy=problem.remedy)
        if self._process.returncode == -signal.SIGKILL:
            return GenerationError(
                _("the system ended the process that writes texts: the memory ran out, perhaps."),
                remedy=_("Close other programs, and try again."),
            )
        return GenerationError(
            _("the process that writes texts stopped unexpectedly (exit status {status}).").format(
                status=self._process.returncode
            ),
            remedy=_("See the log for details."),
        )

    def kill(self) -> None:
        """End it now; `close` is still needed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End it. May be called twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # it ends at once
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(self._following)
        self.kill()
        await self._following


async def _log(stream: asyncio.StreamReader) -> None:
    async for line in stream:
        log_child_line("generator", line.decode(errors="replace").rstrip("\n"))
