"""What the headless app does once and then ends: subcommands, checks, downloads."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.cli import Arguments, Subcommand
from app.commands.curves import CurvesCommand
from app.commands.export import ExportCommand
from app.commands.generate import GenerateCommand
from app.commands.lab import LabAsked
from app.commands.machines import MachinesCommand
from app.commands.organiser import OrganiserCommand
from app.common.errors import SettingsError, SpecError, UserFacingError
from app.common.i18n import _, ngettext
from app.common.paths import Folders
from app.common.plain import one_line
from app.headless import commanding, exporting, generating, organising
from app.headless.display import say
from app.machine import gpu_runtime as runtime
from app.settings import loading, settings

USAGE_STATUS = 2


def is_asked(arguments: Arguments) -> bool:
    """Whether the command line asks for something that `run` does."""
    return (
        arguments.command is not None
        or arguments.diagnostics is not None
        or arguments.gpu_runtime
        or arguments.test_alert
    )


def run(arguments: Arguments, folders: Folders, chosen: settings.Settings) -> int:
    """Do what the command line asks for; returns the exit status."""
    if arguments.command is not None:
        return _obey(arguments.command, folders, chosen, data=arguments.data)
    if arguments.diagnostics is not None:
        return _collect(arguments.diagnostics, folders, chosen)
    if arguments.test_alert:
        return _test_alert(chosen.alert_urls)
    return _fetch_gpu_runtime(folders)


def verify(files: tuple[Path, ...]) -> int:
    """Check the signatures of exported contributions; returns the exit status."""
    from app.contributions.export import verify_files

    return verify_files(files)


def check_config(arguments: Arguments, folders: Folders) -> int:
    """Say what is wrong with the settings and the invite, a line each; changes nothing.

    Returns 0 when nothing is, else `USAGE_STATUS`.
    """
    file = None if arguments.safe else folders.settings_file
    found: list[UserFacingError] = [*loading.mistakes(file, arguments.overrides)]
    if not found:
        found += _mistakes_of_certificate(loading.load(file, arguments.overrides))
    if source := arguments.swarm or arguments.invite:
        found += asyncio.run(_mistakes_of_invite(source, arguments.data, folders))
    for mistake in found:
        say(mistake.text)
    if found:
        return USAGE_STATUS
    say(_("Everything is in order."))
    return 0


def _mistakes_of_certificate(chosen: settings.Settings) -> list[UserFacingError]:
    from app.callback.web import check_certificate

    try:
        check_certificate(chosen)
    except SettingsError as error:
        return [error]
    return []


async def _mistakes_of_invite(
    source: str, files: Mapping[str, str], folders: Folders
) -> list[UserFacingError]:
    """files: of the command line, for the invite's slots."""
    from app.swarm.bindings import Bindings
    from app.swarm.recents import Recents

    bindings = Bindings(folders.slots_file)
    bindings.give(files)
    try:
        spec = await Recents(folders.recents_file).read_invite(source)
        await bindings.open()
        bindings.check(spec)
    except SpecError as error:
        return [*(error.all or (error,))]
    except UserFacingError as error:
        return [error]
    return []


def _collect(file: Path, folders: Folders, chosen: settings.Settings) -> int:
    from app.desktop.diagnostics import collect

    try:
        collect(file, folders=folders, settings=chosen)
    except UserFacingError as error:
        say(error.text)
        return 1
    say(_("Saved as {file}").format(file=file))
    return 0


def _test_alert(urls: tuple[str, ...]) -> int:
    from app.alerts.alerter import send, service_of, trial_message

    if not urls:
        say(_("no services are set: give their addresses in the setting alert_urls."))
        return USAGE_STATUS
    failed = send(urls, trial_message())
    for url in urls:
        outcome = _("not sent by {service}") if url in failed else _("sent by {service}")
        say(outcome.format(service=service_of(url)))
    return 1 if failed else 0


def _obey(
    command: Subcommand, folders: Folders, chosen: settings.Settings, *, data: dict[str, str]
) -> int:
    """Do what a subcommand asks for; returns the exit status."""
    match command:
        case OrganiserCommand():
            return organising.run(command, folders)
        case CurvesCommand() | MachinesCommand():
            return _write_kept(command, folders)
        case GenerateCommand():
            return generating.run(command, folders, chosen, data=data)
        case ExportCommand():
            return exporting.run(command, folders, chosen)
        case LabAsked():
            return commanding.run(command, folders, chosen)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What a data folder keeps of some runs."""

    runs: dict[str, str]
    """By run id, what to say of each; the newest first."""

    nothing: str
    """That of a run nothing is kept."""

    write: Callable[[str, Path], str]
    """Writes what is kept of a run to a file; returns what to say of that."""


def _write_kept(command: CurvesCommand | MachinesCommand, folders: Folders) -> int:
    """List the runs, or write what is kept of one to a file."""
    try:
        kept = _curves(folders) if isinstance(command, CurvesCommand) else _machines(folders)
        if command.to is None:
            for run_id, about in kept.runs.items():
                sys.stdout.write(one_line(f"{run_id}  {about}") + "\n")
            return 0
        run_id = command.run_id or next(iter(kept.runs), "")
        if run_id not in kept.runs:
            say(kept.nothing)
            return 1
        done = kept.write(run_id, command.to)
    except UserFacingError as error:
        say(error.text)
        return 1
    say(done)
    return 0


def _curves(folders: Folders) -> _Kept:
    from app.curves import export
    from app.curves.storage import FILE_NAME

    file = folders.data / FILE_NAME
    runs = {run.run_id: run for run in export.runs(file)}

    def write(run_id: str, to: Path) -> str:
        count = export.write(to, file=file, run=runs[run_id])
        text = ngettext(
            "{count} point of the run {run} saved as {file}",
            "{count} points of the run {run} saved as {file}",
            count,
        )
        return text.format(count=count, run=run_id, file=to)

    return _Kept(
        runs={run_id: run.title for run_id, run in runs.items()},
        nothing=_("no curves of this run are kept here."),
        write=write,
    )


def _machines(folders: Folders) -> _Kept:
    from app.archive import export
    from app.archive.storage import FILE_NAME

    file = folders.data / FILE_NAME

    def words(machines: int) -> str:
        text = ngettext("{count} machine", "{count} machines", machines)
        return text.format(count=machines)

    def write(run_id: str, to: Path) -> str:
        count = export.write(to, file=file, run_id=run_id)
        text = ngettext(
            "{count} row of the run {run} saved as {file}",
            "{count} rows of the run {run} saved as {file}",
            count,
        )
        return text.format(count=count, run=run_id, file=to)

    return _Kept(
        runs={run_id: words(count) for run_id, count in export.runs(file)},
        nothing=_("no machines of this run are kept here."),
        write=write,
    )


def _fetch_gpu_runtime(folders: Folders) -> int:
    wanted = runtime.offered()
    if wanted is None:
        say(_("From source, PyTorch is what pip installed; see pytorch.org for the GPU's."))
        return USAGE_STATUS
    amount = _("{size:.1f} GB to download, {disk:.1f} GB on the disk").format(
        size=wanted.size / 1e9, disk=wanted.unpacked / 1e9
    )
    say(
        _("PyTorch {version} for NVIDIA's GPUs: {amount}").format(
            version=wanted.torch, amount=amount
        )
    )
    try:
        runtime.check_driver(wanted, runtime.driver_cuda())
        place = runtime.fetch(wanted, folders=folders, progress=_Percent(wanted.size).show)
    except UserFacingError as error:
        say(error.text)
        return 1
    say(_("Saved as {file}").format(file=place))
    return 0


class _Percent:
    """Prints how much of a download is done, in steps of 5 %."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = 0

    def show(self, size: int) -> None:
        percent = 100 * size // self._total
        if percent >= self._said + 5:
            self._said = percent
            say(f"{percent} %")
