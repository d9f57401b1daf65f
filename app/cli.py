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
from app.commands.organiser import OrganiserCommand, add_members, add_sign
from app.commands.values import FilesBySlot, TermsByName, invite_argument

Subcommand = OrganiserCommand | CurvesCommand | GenerateCommand | ExportCommand


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
    overrides = {name: getattr(options, name) for name in _OVERRIDES}
    return Arguments(
        demo=options.demo,
        invite=getattr(options, "invite", ""),
        swarm=options.swarm,
        headless=options.headless
        or options.bootstrap
        or options.fetch_gpu_runtime
        or bool(verify or asked or options.diagnostics)
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
        diagnostics=options.diagnostics,
        data=options.data or {},
        gpu_runtime=options.fetch_gpu_runtime,
        overrides={name: value for name, value in overrides.items() if value is not None},
    )


_COMMANDS = ("verify", "sign", "members", "curves", "generate", "export")

_OVERRIDES = (
    "device",
    "threads",
    "theme",
    "language",
    "close_to_tray",
    "go_back",
    "notifications",
    "dht_port",
    "server_port",
    "initial_peers",
    "reachability",
    "announce",
    "trusted_relays",
    "uplink",
    "snapshot_every",
    "hub_sign_in",
    "tensorboard",
    "tracker",
    "tracker_python",
    "report_interval",
    "backend_url",
    "backend_plain_http",
    "refill",
    "debug",
    "update_url",
    "update_key",
    "publish_machine",
    "alias",
    "lab",
    "callback",
    "callback_host",
    "callback_port",
    "callback_allowed_hosts",
    "callback_origins",
    "callback_certificate",
    "callback_key",
    "consent",
    "consent_backends",
    "terms",
)


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
        " 'curves' writes what the charts show to a file, 'generate' lets a swarm's model write,"
        " 'export' takes it out.",
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
    _add_settings(parser.add_argument_group("settings, for this start only"))
    _add_trackers(parser.add_argument_group("the charts' curves, for this start only"))
    _add_network(parser.add_argument_group("the network, for this start only"))
    _add_callback(parser.add_argument_group("the local API, for this start only"))
    if command:
        commands = parser.add_subparsers()
        verify = commands.add_parser("verify")
        verify.add_argument("verify", type=Path, nargs="+", metavar="FILE", help="JSON export")
        add_sign(commands.add_parser("sign", help="sign a swarm's invite as its organiser"))
        add_generate(commands.add_parser("generate", help="let a swarm's model write a text"))
        add_members(commands.add_parser("members", help="who may take part in a closed swarm"))
        add_curves(commands.add_parser("curves", help="write the charts' curves to a file"))
        add_export(commands.add_parser("export", help="take a model out as a folder"))
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


def _add_settings(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--device", metavar="ID", help="auto, cpu, cuda:0, mps, or cuda:0,cuda:1")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the trainer")
    group.add_argument("--theme", choices=("system", "light", "dark"))
    group.add_argument("--language", choices=("system", "en", "zh_CN"))
    _add_desktop(group)
    group.add_argument(
        "--notifications", metavar="KINDS", help="list of training, paused, attention, milestones"
    )
    group.add_argument("--dht-port", type=int, metavar="PORT", help="TCP port of this peer")
    group.add_argument("--server-port", type=int, metavar="PORT", help="TCP port of the trainer")
    group.add_argument("--initial-peers", metavar="ADDRESSES", help="comma list of multiaddrs")
    group.add_argument("--uplink", type=float, metavar="MBIT", help="upload of this line, Mbit/s")
    group.add_argument(
        "--report-interval", type=int, metavar="SECONDS", help="length of one contribution"
    )
    group.add_argument("--backend-url", metavar="URL", help="the CoTrain backend to report to")
    group.add_argument(
        "--backend-plain-http",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="send the sign-in to the backend also where others on the network can read it",
    )
    group.add_argument(
        "--refill",
        metavar="WHETHER",
        help="report again what the backend has forgotten: ask, always or never",
    )
    group.add_argument("--alias", metavar="NAME", help="name of this machine in the swarm")
    group.add_argument("--lab", metavar="NAME", help="lab of this machine, shown to the swarm")
    group.add_argument(
        "--publish-machine",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show this machine's figures to the swarm, or don't",
    )
    group.add_argument(
        "--term",
        dest="terms",
        action=TermsByName,
        metavar="NAME=VALUE",
        help="when this machine trains and how much of it, such as idle_minutes=10,"
        " max_temperature=80 or 'schedule=mon-fri 18:00-08:00'; may be given several times",
    )
    group.add_argument("--update-url", metavar="URL", help="where the newest version is published")
    group.add_argument("--update-key", metavar="KEY", help="the publisher's public key")
    group.add_argument("--debug", action="store_true", default=None, help="log in detail")


def _add_desktop(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--close-to-tray",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="closing the window hides it in the tray, or ends the app",
    )
    group.add_argument(
        "--go-back",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="without --swarm and the like, go on in the swarm of the last run, or don't",
    )


def _add_trackers(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write what the charts show into files for TensorBoard, or don't",
    )
    group.add_argument(
        "--tracker",
        choices=("none", "trackio", "wandb"),
        help="send what the charts show to Trackio or Weights & Biases, as you have installed it",
    )
    group.add_argument(
        "--tracker-python", metavar="FILE", help="the Python in which the tracker is installed"
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


def _add_network(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--reachability",
        choices=("auto", "public", "relay", "client"),
        help="how others reach this machine (auto: find out)",
    )
    group.add_argument(
        "--announce",
        metavar="HOSTS",
        help="host names or addresses at which others reach this machine",
    )
    group.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="a door keeps the run's state every N epochs, for who joins when nobody trains",
    )
    group.add_argument("--trusted-relays", metavar="ADDRESSES", help="comma list of multiaddrs")
    group.add_argument(
        "--hub-sign-in",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="read the Hugging Face hub with your own sign-in, or without",
    )


def _add_callback(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--no-callback", dest="callback", action="store_false", default=None, help="don't serve it"
    )
    group.add_argument("--callback-host", metavar="ADDRESS", help="IP address to listen on")
    group.add_argument("--callback-port", type=int, metavar="PORT", help="TCP port, 0 for any")
    group.add_argument(
        "--callback-allowed-hosts", metavar="NAMES", help="further names in the Host header"
    )
    group.add_argument("--callback-origins", metavar="ORIGINS", help="web pages that may call")
    group.add_argument("--callback-certificate", metavar="FILE", help="PEM file, for https")
    group.add_argument("--callback-key", metavar="FILE", help="PEM file, for https")
    group.add_argument(
        "--consent",
        choices=("ask", "always", "never"),
        help="whether a task from outside may train here (always: from the listed backends)",
    )
    group.add_argument(
        "--consent-backends", metavar="NETWORKS", help="comma list of addresses and networks"
    )


def has_display() -> bool:
    """Whether a window can be shown on this machine."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
