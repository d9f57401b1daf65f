"""``export`` on the command line: progress on stderr, the result on stdout, and an exit status.

Needs no session: the app may run and train with the same data folder meanwhile.
"""

import asyncio
import getpass
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from app.commands.export import ExportCommand
from app.common.errors import UserFacingError
from app.common.i18n import _
from app.common.paths import Folders
from app.common.plain import one_line
from app.export.exporter import export, upload
from app.export.kept_runs import KeptRun, KeptRuns
from app.export.target import ExportTarget, check_is_export
from app.export.words import percent_of, step_in_words
from app.headless.display import say
from app.headless.fetching import fetch
from app.headless.printer import MOST_SAID
from app.settings.settings import Settings
from app.swarm.bindings import Bindings
from app.takeout.messages import ExportFacts, ExportProgress, ExportStep, Upload

if TYPE_CHECKING:
    from app.spec.schema import SwarmSpec

DONE, FAILED, USAGE, NOT_UPLOADED = 0, 1, 2, 3
"""Exit statuses; the last one: the folder is complete, the upload failed."""

INTERRUPTED = 130
"""As shells have it after Ctrl-C."""

TOKEN_VARIABLE = "HF_TOKEN"


def run(command: ExportCommand, folders: Folders, settings: Settings) -> int:
    """Do what was asked for; returns the exit status."""
    if command.upload_only and not command.repository:
        say(_("--upload-only needs --upload OWNER/NAME."))
        return USAGE
    return asyncio.run(_Export(command, folders, settings).run())


class _Export:
    """One call of the command."""

    def __init__(self, command: ExportCommand, folders: Folders, settings: Settings) -> None:
        self._command = command
        self._folders = folders
        self._settings = settings
        self._step: ExportStep | None = None
        self._percent = 0

    async def run(self) -> int:
        """Returns the exit status."""
        working = asyncio.create_task(self._work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, working.cancel)
        try:
            return await working
        except asyncio.CancelledError:
            return INTERRUPTED

    async def _work(self) -> int:
        command = self._command
        try:
            if command.upload_only:
                check_is_export(command.to)
            else:
                await self._export()
        except UserFacingError as error:
            self._fail(error)
            return FAILED
        if not command.repository:
            return DONE
        try:
            await self._upload()
        except UserFacingError as error:
            self._fail(error)
            say(_("The folder is complete. Repeat the upload alone with --upload-only."))
            return NOT_UPLOADED
        return DONE

    async def _export(self) -> None:
        target = ExportTarget(self._command.to, overwrite=self._command.overwrite)
        await asyncio.to_thread(target.check)  # before anything that takes long
        kept = await KeptRuns.of(self._folders)
        await self._fetch_what_is_not_kept(kept)
        chosen = await asyncio.to_thread(_chosen, kept, self._command)
        shown = self._settings.publish_machine and chosen.is_own
        alias = self._settings.alias if shown else ""
        facts = ExportFacts(since=chosen.since, contributors=(alias,) if alias else ())
        written, aside = await export(
            chosen, target, cache=self._folders.cache, facts=facts, on_progress=self._show
        )
        for name in written.passed_over:
            say(_("{file} is damaged: an older checkpoint was taken.").format(file=name))
        if aside is not None:
            say(_("What lay there is now {folder}").format(folder=aside))
        self._tell(
            _("Exported {run}, epoch {epoch}: {folder}").format(
                run=chosen.spec.name, epoch=written.epoch, folder=target.folder
            ),
            folder=str(target.folder),
            run_id=chosen.spec.run_id,
            epoch=written.epoch,
            parameters=written.parameters,
            bytes=written.size,
            exact_tokenizer=written.exact_tokenizer,
            damaged=list(written.passed_over),
            set_aside=None if aside is None else str(aside),
        )

    async def _fetch_what_is_not_kept(self, kept: KeptRuns) -> None:
        """Of a swarm that is named, and of which this machine has no checkpoint."""
        command = self._command
        if not command.swarm or command.checkpoint is not None:
            return
        spec = await asyncio.to_thread(_spec_of, kept, command)
        if await asyncio.to_thread(kept.has, spec):
            return
        bindings = Bindings(self._folders.slots_file)
        await bindings.open()
        await fetch(spec, folders=self._folders, settings=self._settings, bindings=bindings)

    async def _upload(self) -> None:
        command = self._command
        order = Upload(
            folder=str(command.to.expanduser().absolute()),
            repository=command.repository,
            public=command.public,
            overwrite=command.overwrite,
            token=await asyncio.to_thread(_token),
        )
        arrived = await upload(order, on_progress=self._show)
        text = _("Uploaded, and visible to everybody: {url}")
        if not arrived.public:
            text = _("Uploaded, private: {url}")
        self._tell(text.format(url=arrived.url), url=arrived.url, public=arrived.public)

    def _show(self, progress: ExportProgress) -> None:
        percent = percent_of(progress)
        if progress.step is self._step and percent < self._percent + 5:
            return
        self._step, self._percent = progress.step, percent
        if self._command.as_json:
            self._print(step=progress.step.value, done=progress.done, size=progress.size)
        else:
            say(step_in_words(progress))

    def _tell(self, text: str, **fields: Any) -> None:
        if self._command.as_json:
            self._print(**fields)
        else:
            sys.stdout.write(one_line(text, most=MOST_SAID) + "\n")
            sys.stdout.flush()

    def _fail(self, error: UserFacingError) -> None:
        if self._command.as_json:
            fields = {"message": error.message, "field": error.field, "remedy": error.remedy}
            self._print(error=fields)
        say(error.text)

    def _print(self, **fields: Any) -> None:
        sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _spec_of(kept: KeptRuns, command: ExportCommand) -> "SwarmSpec":
    from app.spec import invite

    return invite.load(command.swarm, own=kept.recents)


def _chosen(kept: KeptRuns, command: ExportCommand) -> KeptRun:
    spec = _spec_of(kept, command) if command.swarm else None
    if command.checkpoint is not None:
        return kept.in_folder(command.checkpoint, spec)
    return kept.newest() if spec is None else kept.of_swarm(spec)


def _token() -> str:
    """Of the user: from the environment or a terminal, "" to use the hub's own sign-in.

    Never from the command line, which every user of this machine can read.
    """
    import huggingface_hub

    if os.environ.get(TOKEN_VARIABLE) or huggingface_hub.get_token() or not sys.stdin.isatty():
        return ""
    return getpass.getpass(_("Access token of the hub (with the right to write): "))
