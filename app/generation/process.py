"""The process that writes texts, seen from the app."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from app.common.errors import GenerationError, TrainerError
from app.common.i18n import _
from app.protocol import (
    MOST_PROMPT,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    Generate,
    GenerationEnded,
    OpenModel,
    Report,
    StopGenerating,
    TextGenerated,
    WeightsLoaded,
)
from app.training.supervisor import C, Trainer

CLOSE_SECONDS = 1.0

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
    """A process with a model of its own. Made by `spawn`; `open` comes first."""

    def __init__(self) -> None:
        self.order: dict[str, Any] = {}
        """What it was opened with: the fields of `OpenModel`."""
        self._written: asyncio.Queue[Written | None] = asyncio.Queue()
        self._following: asyncio.Task[None] | None = None
        self._trainer: Trainer

    @classmethod
    async def spawn(cls, *, debug: bool = False) -> "WritingProcess":
        """Start it. Raises `GenerationError`."""
        made = cls()
        arguments = ("--generate", *(("--debug",) if debug else ()))
        try:
            made._trainer = await Trainer.spawn(
                on_report=made._take,
                name="generator",
                arguments=arguments,
            )
        except OSError as error:
            text = _("the process that writes texts can't be started: {reason}.")
            raise GenerationError(text.format(reason=error)) from error
        made._following = asyncio.create_task(made._follow())
        return made

    def _take(self, report: Report) -> None:
        if isinstance(report, Written):
            self._written.put_nowait(report)

    async def _follow(self) -> None:
        await self._trainer.outcome()
        self._written.put_nowait(None)

    @property
    def has_ended(self) -> bool:
        """It can't write any more."""
        return self._trainer.has_ended

    async def open(self, order: dict[str, Any]) -> None:
        """Load the model: fields of `OpenModel`. Raises `GenerationError`."""
        self.order = order
        await self._command(OpenModel, **order)

    async def write(self, wanted: WantedText) -> AsyncIterator[Written]:
        """Write a text to its end. Raises `GenerationError` when the process ends first."""
        prompt = wanted.prompt.encode("utf-8", "replace").decode()  # it may hold half a pair
        await self._command(
            Generate,
            prompt=prompt[-MOST_PROMPT:],
            temperature=wanted.temperature,
            tokens=wanted.tokens,
        )
        while (report := await self._written.get()) is not None:
            yield report
            if isinstance(report, GenerationEnded):
                return
        raise await self._error()

    async def end_text(self) -> None:
        """Ask it to end the text that it writes, which then ends as usual."""
        await self._command(StopGenerating)

    async def _command(self, kind: type[C], **fields: Any) -> None:
        try:
            await self._trainer.command(kind, **fields)
        except TrainerError as error:
            raise await self._error() from error

    async def _error(self) -> GenerationError:
        """Why it has ended."""
        outcome = await self._trainer.outcome()
        if (problem := outcome.problem) is not None and problem.expected:
            return GenerationError(problem.message, field=problem.field, remedy=problem.remedy)
        return GenerationError(
            _("the process that writes texts has ended unexpectedly."),
            remedy=_("Try again; the log says more."),
        )

    def kill(self) -> None:
        """End it now; `close` is still needed."""
        self._trainer.kill()

    async def close(self) -> None:
        """End it. May be called twice."""
        await self._trainer.stop(CLOSE_SECONDS)
        if self._following is not None:
            await self._following
