"""The process that exports and uploads, seen from the app."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app import pipe, protocol
from app.common import i18n
from app.common.background import in_thread
from app.common.errors import ExportError
from app.common.i18n import _
from app.common.logs import log_child_line
from app.export.kept_runs import KeptRun
from app.export.target import ExportTarget
from app.lifecycle.processes import command_line
from app.spec.sources.data import SlotTokenizer
from app.takeout.messages import (
    Export,
    Exported,
    ExportFacts,
    ExportOrder,
    ExportProgress,
    FetchWeights,
    Upload,
    Uploaded,
    WeightsFetched,
    decode_report,
)

log = logging.getLogger(__name__)

_MAX_LINE_BYTES = 2**20
"""Of a report, or of a line of its log."""

OnExportProgress = Callable[[ExportProgress], None]


async def export(
    run: KeptRun,
    target: ExportTarget,
    *,
    cache: Path,
    facts: ExportFacts,
    on_progress: OnExportProgress,
) -> tuple[Exported, Path | None]:
    """Write a run's newest model to its target; a cancel leaves nothing behind.

    cache: this machine's, with what its trainers have downloaded.

    Returns what was written, and where something else that lay there was set aside to. Raises
    `ExportError`, or `BusyError` while another export goes to the same place.
    """
    spec = run.spec
    if isinstance(slot := spec.data.tokenizer, SlotTokenizer):
        raise ExportError(
            _("the file of the tokenizer ({label}) isn't known.").format(label=slot.label),
            field="dataset_info.tokenizer",
            remedy=_("Join the swarm once with --data {label}=PATH.").format(label=slot.label),
        )
    order = Export(
        spec=spec.to_json(),
        checkpoint_dirs=tuple(map(str, run.folders)),
        cache_dir=str(cache / "data"),
        folder=str(target.part),
        facts=facts,
    )
    try:
        await in_thread(target.claim)
        result = await _obeyed(order, on_progress)
        assert isinstance(result, Exported)
        aside = await in_thread(target.put_in_place)
    finally:
        await in_thread(target.discard)  # some gigabytes, while a window is to be painted
    return result, aside


async def upload(order: Upload, *, on_progress: OnExportProgress) -> Uploaded:
    """Send an exported folder to a repository; what has arrived already isn't sent again.

    Raises `ExportError`.
    """
    result = await _obeyed(order, on_progress)
    assert isinstance(result, Uploaded)
    return result


async def fetch(order: FetchWeights, *, on_progress: OnExportProgress) -> WeightsFetched:
    """Fetch a swarm's weights; a cancel ends it, and leaves no checkpoint. Raises `ExportError`."""
    result = await _obeyed(order, on_progress)
    assert isinstance(result, WeightsFetched)
    return result


_Result = Exported | Uploaded | WeightsFetched


async def _obeyed(order: ExportOrder, on_progress: OnExportProgress) -> _Result:
    """Start the process, give it the order, and wait for its result."""
    async with _process() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        logged = asyncio.create_task(_log(process.stderr))
        with suppress(ConnectionError):  # its exit status says more
            process.stdin.write(pipe.encode(order))
            await process.stdin.drain()
        result: _Result | None = None
        async for line in process.stdout:
            match report := decode_report(line):
                case ExportProgress():
                    on_progress(report)
                case Exported() | Uploaded() | WeightsFetched():
                    result = report
                case protocol.TrainerProblem(message=message, field=field, remedy=remedy):
                    raise ExportError(message, field=field, remedy=remedy)
                case protocol.Hello(version=version) if version != protocol.VERSION:
                    raise ExportError(
                        _("the app was updated while it ran."),
                        remedy=_("Close the app and start it again."),
                    )
        await logged
        status = await process.wait()
    if result is None:
        raise _ended(status)
    return result


@asynccontextmanager
async def _process() -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, in a group of its own, which is killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *command_line("--trainer", "--export"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,
        env={**os.environ, i18n.VARIABLE: i18n.spoken()},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


async def _log(stream: asyncio.StreamReader) -> None:
    async for line in stream:
        log_child_line("export", line.decode(errors="replace").rstrip("\n"))


def _ended(status: int) -> ExportError:
    if status == -signal.SIGKILL:
        return ExportError(
            _("the system ended the process, most likely because the memory ran out."),
            remedy=_("Close other programs, and try again."),
        )
    return ExportError(
        _("the process stopped unexpectedly (exit status {status}).").format(status=status),
        remedy=_("See the log for details."),
    )
