"""What the headless app does once and then ends: subcommands, checks, downloads."""

import asyncio
import sys
from pathlib import Path

from app.cli import Arguments, Subcommand
from app.commands.curves import CurvesCommand
from app.commands.export import ExportCommand
from app.commands.generate import GenerateCommand
from app.commands.lab import LabAsked
from app.commands.machines import MachinesCommand
from app.commands.organiser import OrganiserCommand
from app.common.errors import SpecError, UserFacingError
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
    if source := arguments.swarm or arguments.invite:
        found += _mistakes_of_invite(source, folders)
    for mistake in found:
        say(mistake.text)
    if found:
        return USAGE_STATUS
    say(_("Everything is in order."))
    return 0


def _mistakes_of_invite(source: str, folders: Folders) -> list[UserFacingError]:
    from app.swarm.recents import Recents

    try:
        asyncio.run(Recents(folders.recents_file).read_invite(source))
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
        case CurvesCommand():
            return _write_curves(command, folders)
        case MachinesCommand():
            return _write_machines(command, folders)
        case GenerateCommand():
            return generating.run(command, folders, chosen, data=data)
        case ExportCommand():
            return exporting.run(command, folders, chosen)
        case LabAsked():
            return commanding.run(command, folders, chosen)


def _write_curves(command: CurvesCommand, folders: Folders) -> int:
    from app.curves import export
    from app.curves.storage import FILE_NAME

    file = folders.data / FILE_NAME
    try:
        kept = export.runs(file)
        run = next((each for each in kept if command.run_id in ("", each.run_id)), None)
        if command.to is None:
            for each in kept:
                sys.stdout.write(one_line(f"{each.run_id}  {each.title}") + "\n")
            return 0
        if run is None:
            say(_("no curves of this run are kept here."))
            return 1
        count = export.write(command.to, file=file, run=run)
    except UserFacingError as error:
        say(error.text)
        return 1
    done = ngettext(
        "{count} point of the run {run} saved as {file}",
        "{count} points of the run {run} saved as {file}",
        count,
    )
    say(done.format(count=count, run=run.run_id, file=command.to))
    return 0


def _write_machines(command: MachinesCommand, folders: Folders) -> int:
    from app.archive import export
    from app.archive.storage import FILE_NAME

    file = folders.data / FILE_NAME
    try:
        kept = export.runs(file)
        if command.to is None:
            for run_id, machines in kept:
                text = ngettext("{count} machine", "{count} machines", machines)
                sys.stdout.write(one_line(f"{run_id}  {text.format(count=machines)}") + "\n")
            return 0
        run = next((name for name, _count in kept if command.run_id in ("", name)), None)
        if run is None:
            say(_("no machines of this run are kept here."))
            return 1
        count = export.write(command.to, file=file, run_id=run)
    except UserFacingError as error:
        say(error.text)
        return 1
    done = ngettext(
        "{count} row of the run {run} saved as {file}",
        "{count} rows of the run {run} saved as {file}",
        count,
    )
    say(done.format(count=count, run=run, file=command.to))
    return 0


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
