"""Texts that the model of a swarm writes, in a process that is started when one is wanted."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.common.background import Background
from app.common.errors import BusyError, GenerationError
from app.common.i18n import _
from app.common.paths import ROLE, WATCHED, Folders
from app.generation.process import WantedText, WritingProcess, Written
from app.generation_messages import GenerationEnded, OpenModel
from app.state.store import ReadableStore
from app.swarm.bindings import Bindings
from app.terms.terms import GB

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

IDLE_SECONDS = 120.0
"""The process ends so long after its last text, and its memory is free again."""

STOP_SECONDS = 3.0
"""A text that hasn't ended so long after it was stopped is ended with its process, which may be
reading a long prompt, or weights."""


_EPOCH = re.compile(r"(before-)?epoch-(?P<epoch>\d{1,18})")
"""How a trainer begins a checkpoint's name."""


class Generation:
    """Writes one text at a time. Its process is started for the first one, and kept for a while.

    store: its settings say how much memory the process may take.
    bindings: the file in the tokenizer's slot.
    """

    def __init__(self, store: ReadableStore, *, folders: Folders, bindings: Bindings) -> None:
        self._store = store
        self._folders = folders
        self._bindings = bindings
        self._process: WritingProcess | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._stopping = False
        self._background = Background()
        self._idle: asyncio.Task[None] | None = None

    def kept_epoch(self, run_id: str) -> int | None:
        """The epoch of the newest checkpoint of a run on this machine; None without one."""
        files: list[Path] = []
        with contextlib.suppress(OSError):  # a folder that can't be read has none for us
            files = [path for folder in self._places(run_id) for path in folder.glob("*.pt")]
        found = (_EPOCH.match(path.name) for path in files)
        return max((int(each["epoch"]) for each in found if each is not None), default=None)

    def _places(self, run_id: str) -> list[Path]:
        """The folders with checkpoints of this machine's trainers, and with fetched ones."""
        folder = self._folders.checkpoints(run_id)
        return [*sorted(folder.glob(f"{ROLE}*")), *folder.glob(WATCHED)]

    def refusal(self, run_id: str) -> GenerationError | None:
        """Why nothing can be written with the model of a run; None where it can be tried."""
        if self.kept_epoch(run_id) is not None:
            return None
        return GenerationError(
            _("this machine has no weights of this model yet."),
            remedy=_(
                "Fetch the swarm's weights, or train here until the end of an epoch, when they are"
                " kept on this machine."
            ),
        )

    async def write(self, spec: "SwarmSpec", wanted: WantedText) -> AsyncIterator[Written]:
        """Write a text with the newest weights that this machine has of a swarm's model.

        A listener that goes away before the end ends the process.

        Raises `BusyError` while another text is written, `GenerationError` where the model can't
        write, and `SpecError` or `DataError` for the file in the tokenizer's slot.
        """
        if not self._free.is_set():
            raise BusyError(_("another text is being written."), remedy=_("Stop it first."))
        self._free.clear()
        self._stopping = ended = False
        self._stay()
        try:
            async for report in self._write(spec, wanted):
                ended = isinstance(report, GenerationEnded)
                yield report
        except GenerationError:
            if not self._stopping:
                raise
        finally:
            if not ended and self._process is not None:
                self._process.kill()
            self._free.set()
            self._idle = self._background.start(self._end_when_idle())
        if not ended:
            yield GenerationEnded(reason="stopped", tokens=0, seconds=0.0)

    async def _write(self, spec: "SwarmSpec", wanted: WantedText) -> AsyncIterator[Written]:
        if (refusal := self.refusal(spec.run_id)) is not None:
            raise refusal
        process = await self._opened(await self._order(spec))
        async for report in process.write(wanted):
            yield report

    async def _order(self, spec: "SwarmSpec") -> OpenModel:
        from app.spec.sources.data import SlotTokenizer

        if isinstance(spec.data.tokenizer, SlotTokenizer):
            spec = await self._bindings.filled(spec)
        return OpenModel(
            spec=spec.to_json(),
            checkpoint_dirs=tuple(map(str, self._places(spec.run_id))),
            cache_dir=str(self._folders.cache / "data"),
            max_memory=self._store.settings.terms.max_memory * GB,
        )

    async def _opened(self, order: OpenModel) -> WritingProcess:
        """The process with this model; started if need be."""
        process = self._process
        if process is not None and (process.has_ended or process.order != order):
            await self._close_process()
            process = None
        if process is None:
            process = await WritingProcess.spawn(order, debug=self._store.settings.debug)
            self._process = process
            if self._stopping:
                process.kill()
        return process

    async def stop(self) -> None:
        """End the text that is being written, if there is one; returns when it has ended."""
        if self._free.is_set():
            return
        self._stopping = True
        if self._process is not None:
            self._process.end_text()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._free.wait()
        if not self._free.is_set() and self._process is not None:
            self._process.kill()
        await self._free.wait()

    # --- the end of the process

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        await self._close_process()

    async def _close_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    async def close(self) -> None:
        """End the process. May be called twice."""
        self._stopping = True
        await self._background.close()
        await self._close_process()
