"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import __version__
from app.commands.curves import CurvesCommand, add_curves
from app.commands.export import ExportCommand, add_export
from app.commands.generate import GenerateCommand, add_generate
from app.commands.lab import LabAsked, add_lab
from app.commands.machines import MachinesCommand, add_machines
from app.commands.organiser import OrganiserCommand, add_members, add_sign
from app.commands.overrides import OVERRIDES, add_overrides
from app.commands.values import FilesBySlot, invite_argument

Subcommand = (
    OrganiserCommand | CurvesCommand | MachinesCommand | GenerateCommand | ExportCommand | LabAsked
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The parsed command line. ``headless`` is True as well for options that need no window."""

    demo: bool = False
    """Train in a local swarm with a second trainer."""

    invite: str = ""
    """A file or link of an invite to preview before joining."""

    swarm: str = ""
    """A file or link of an invite to join at once."""

    headless: bool = False
    train: bool = False
    """Start training without a click."""

    serve: bool = False
    """Headless: keep running and serve the local API."""

    bootstrap: bool = False
    """Headless: be a door (bootstrap peer) of the swarm and train nothing."""

    minimized: bool = False
    """Start in the tray or, without one, with a minimised window."""

    sign_in: str = ""
    """An e-mail address to sign in to the backend with; the password is read elsewhere."""

    sign_out: bool = False
    safe: bool = False
    """Ignore the settings file."""

    data_dir: Path | None = None
    """The folder for everything; None for the platform's folders."""

    verify: tuple[Path, ...] = ()
    """Exported contributions whose signatures to check; nothing else is done then."""

    command: Subcommand | None = None
    """A subcommand; nothing else is done then."""

    accept_organiser: str = ""
    """The public key of an organiser to trust instead of the one known before; ``none`` for an
    invite without one."""

    check_config: bool = False
    """Say what is wrong with settings and invite; nothing else is done then."""

    test_alert: bool = False
    """Send a test to the services of the settings; nothing else is done then."""

    diagnostics: Path | None = None
    """The diagnostics archive to write; nothing else is done then."""

    data: dict[str, str] = field(default_factory=dict)
    """Absolute paths of files and folders for the slots of the swarm, by label."""

    gpu_runtime: bool = False
    """Fetch PyTorch for the GPU; nothing else is done then."""

    overrides: dict[str, Any] = field(default_factory=dict)
    """The settings that the command line gives, by field name."""


def parse(arguments: Sequence[str]) -> Arguments:
    """Parse the command line; on an error, print it and exit with status 2."""
    command = next((word for word in arguments if word in _COMMANDS), "")
    options = _parser(command).parse_args(arguments)
    verify = tuple(getattr(options, "verify", ()))
    command_of = getattr(options, "command_of", None)
    asked: Subcommand | None = command_of(options) if command_of is not None else None
    overrides = {name: getattr(options, name) for name in OVERRIDES}
    return Arguments(
        demo=options.demo,
        invite=getattr(options, "invite", ""),
        swarm=options.swarm,
        headless=options.headless
        or options.bootstrap
        or options.fetch_gpu_runtime
        or bool(verify or asked or options.diagnostics)
        or bool(options.check_config or options.test_alert)
        or bool(options.sign_in or options.sign_out),
        train=options.train,
        serve=options.serve,
        bootstrap=options.bootstrap,
        minimized=options.minimized,
        sign_in=options.sign_in,
        sign_out=options.sign_out,
        safe=options.safe,
        data_dir=options.data_dir,
        verify=verify,
        command=asked,
        accept_organiser=options.accept_organiser,
        check_config=options.check_config,
        test_alert=options.test_alert,
        diagnostics=options.diagnostics,
        data=options.data or {},
        gpu_runtime=options.fetch_gpu_runtime,
        overrides={name: value for name, value in overrides.items() if value is not None},
    )


_COMMANDS = ("verify", "sign", "members", "curves", "machines", "generate", "export", "lab")


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser for a command line with one of `_COMMANDS` or, for "", without any.

    Argparse can't tell a command from an invite, which is a positional argument too.
    """
    parser = argparse.ArgumentParser(
        prog="cotrain-contributor",
        description="Give your GPU to a collaborative training run.",
        epilog="Settings can also be given in the settings file and the environment; see README."
        " 'verify FILE…' checks the signatures of exported contributions, 'sign INVITE' makes a"
        " swarm yours, 'members list|add|remove' says who may take part in a closed one,"
        " 'curves' writes what the charts show to a file, 'machines' what a swarm's machines told,"
        " 'generate' lets a swarm's model write, 'export' takes it out, 'lab' commands the machines"
        " of a lab.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--demo", action="store_true", help="train in a local swarm with a second peer"
    )
    which.add_argument("--swarm", default="", metavar="INVITE", help="join this swarm at once")
    if not command:
        which.add_argument(
            "invite",
            nargs="?",
            default="",
            type=invite_argument,
            metavar="INVITE",
            help="a *.cotrain file or a cotrain:// link: show what joining means, then ask",
        )
    _add_modes(parser)
    _add_one_time_actions(parser)
    add_overrides(parser)
    if command:
        commands = parser.add_subparsers()
        verify = commands.add_parser("verify")
        verify.add_argument("verify", type=Path, nargs="+", metavar="FILE", help="JSON export")
        add_sign(commands.add_parser("sign", help="sign a swarm's invite as its organiser"))
        add_generate(commands.add_parser("generate", help="let a swarm's model write a text"))
        add_members(commands.add_parser("members", help="who may take part in a closed swarm"))
        add_curves(commands.add_parser("curves", help="write the charts' curves to a file"))
        add_machines(commands.add_parser("machines", help="write the machines' figures to a file"))
        add_export(commands.add_parser("export", help="take a model out as a folder"))
        add_lab(commands.add_parser("lab", help="command the machines of a lab"))
    return parser


def _add_modes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--headless", action="store_true", help="run without a window")
    parser.add_argument("--train", action="store_true", help="start training without a click")
    parser.add_argument(
        "--serve", action="store_true", help="headless: keep running and serve the local API"
    )
    parser.add_argument(
        "--bootstrap",
        action="store_true",
        help="headless: be a door of the swarm, through which others join, and train nothing",
    )
    parser.add_argument(
        "--minimized", action="store_true", help="start in the tray, or minimised without one"
    )
    parser.add_argument(
        "--safe", action="store_true", help="ignore the settings file for this start"
    )
    parser.add_argument(
        "--data",
        action=FilesBySlot,
        metavar="LABEL=PATH",
        help="the file or folder of this machine for a slot of the swarm; may be given several"
        " times, and is remembered",
    )
    parser.add_argument(
        "--accept-organiser",
        default="",
        metavar="KEY",
        help="headless: trust the key that signs this invite now, although another one did before;"
        " 'none' for an invite that was signed before and isn't any more",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep everything in DIR")


def _add_one_time_actions(parser: argparse.ArgumentParser) -> None:
    _add_account(parser.add_mutually_exclusive_group())
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="say what is wrong with the settings and the invite, a line each, and exit: 0 if"
        " nothing is, else 2",
    )
    parser.add_argument(
        "--test-alert",
        action="store_true",
        help="send a test to the services of the setting alert_urls, and exit",
    )
    parser.add_argument(
        "--diagnostics",
        type=Path,
        metavar="FILE",
        help="write a ZIP archive for a bug report, without private data, and exit",
    )
    parser.add_argument(
        "--fetch-gpu-runtime",
        action="store_true",
        help="packaged app: download PyTorch for NVIDIA's GPUs, some gigabytes, and exit",
    )


def _add_account(group: "argparse._MutuallyExclusiveGroup") -> None:
    group.add_argument(
        "--sign-in",
        default="",
        metavar="EMAIL",
        help="headless: sign in to the backend for this and later starts; the password is read"
        " from COTRAIN_PASSWORD, or else from the standard input",
    )
    group.add_argument("--sign-out", action="store_true", help="headless: forget the sign-in")


def has_display() -> bool:
    """Whether a window can be shown on this machine."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
