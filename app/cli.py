"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from app import __version__


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line said. verify: exports to check, diagnostics: an archive to write,
    gpu_runtime: PyTorch for the GPU to fetch, and nothing else to do. overrides: settings by field
    name, only those given.

    invite: a file or link to be shown before it is joined. swarm: one to be joined at once.
    minimized: start into the tray, or as a minimised window where there is none.
    sign_in: an e-mail address, whose password is asked for.
    safe: leave the settings file alone.
    """

    demo: bool = False
    invite: str = ""
    swarm: str = ""
    headless: bool = False
    train: bool = False
    serve: bool = False
    bootstrap: bool = False
    minimized: bool = False
    sign_in: str = ""
    sign_out: bool = False
    safe: bool = False
    data_dir: Path | None = None
    verify: tuple[Path, ...] = ()
    diagnostics: Path | None = None
    gpu_runtime: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)


def parse(arguments: Sequence[str]) -> Arguments:
    """Read the command line; on a mistake, say it and exit with status 2."""
    options = _parser(commands="verify" in arguments).parse_args(arguments)
    verify = tuple(getattr(options, "verify", ()))
    overrides = {name: getattr(options, name) for name in _OVERRIDES}
    return Arguments(
        demo=options.demo,
        invite=getattr(options, "invite", ""),
        swarm=options.swarm,
        headless=options.headless
        or options.bootstrap
        or options.fetch_gpu_runtime
        or bool(verify or options.diagnostics or options.sign_in or options.sign_out),
        train=options.train,
        serve=options.serve,
        bootstrap=options.bootstrap,
        minimized=options.minimized,
        sign_in=options.sign_in,
        sign_out=options.sign_out,
        safe=options.safe,
        data_dir=options.data_dir,
        verify=verify,
        diagnostics=options.diagnostics,
        gpu_runtime=options.fetch_gpu_runtime,
        overrides={name: value for name, value in overrides.items() if value is not None},
    )


_OVERRIDES = (
    "device",
    "threads",
    "theme",
    "language",
    "close_to_tray",
    "notifications",
    "dht_port",
    "server_port",
    "initial_peers",
    "reachability",
    "announce",
    "trusted_relays",
    "report_interval",
    "backend_url",
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


def _parser(*, commands: bool) -> argparse.ArgumentParser:
    """commands: the words that aren't options are a command's, else an invite: argparse can't
    tell them apart."""
    parser = argparse.ArgumentParser(
        prog="cotrain-contributor",
        description="Give your GPU to a collaborative training run.",
        epilog="Settings can also stand in the settings file and the environment; see README."
        " 'verify FILE…' checks the signatures of exported contributions.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--demo", action="store_true", help="train in a local swarm with a second peer"
    )
    which.add_argument("--swarm", default="", metavar="INVITE", help="join this swarm at once")
    if not commands:
        which.add_argument(
            "invite",
            nargs="?",
            default="",
            type=_invite,
            metavar="INVITE",
            help="a *.cotrain file or a cotrain:// link: show what joining means, then ask",
        )
    _add_ways(parser)
    _add_errands(parser)
    _add_settings(parser.add_argument_group("settings, for this start only"))
    _add_network(parser.add_argument_group("the network, for this start only"))
    _add_callback(parser.add_argument_group("the local API, for this start only"))
    if commands:
        verify = parser.add_subparsers().add_parser("verify")
        verify.add_argument("verify", type=Path, nargs="+", metavar="FILE", help="JSON export")
    return parser


def _add_ways(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--headless", action="store_true", help="run without a window")
    parser.add_argument("--train", action="store_true", help="start training without a click")
    parser.add_argument(
        "--serve", action="store_true", help="headless: stay, and do what the local API is asked"
    )
    parser.add_argument(
        "--bootstrap",
        action="store_true",
        help="headless: be the swarm's door, by which others enter, and train nothing",
    )
    parser.add_argument(
        "--minimized", action="store_true", help="start into the tray, or minimised without one"
    )
    parser.add_argument(
        "--safe", action="store_true", help="start without the settings file, this once"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep everything in DIR")


def _add_errands(parser: argparse.ArgumentParser) -> None:
    _add_account(parser.add_mutually_exclusive_group())
    parser.add_argument(
        "--diagnostics",
        type=Path,
        metavar="FILE",
        help="write a ZIP archive for a report of a fault, without what is private, and end",
    )
    parser.add_argument(
        "--fetch-gpu-runtime",
        action="store_true",
        help="packaged app: fetch PyTorch for NVIDIA's GPUs, some gigabytes, and end",
    )


def _invite(text: str) -> str:
    """A link, or the path of what may be a file: a mistyped command is neither. A desktop names
    files by their ``file:`` URL."""
    if text.lower().startswith("file:"):
        return unquote(urlsplit(text).path)
    if not text or text.lower().startswith("cotrain:") or Path(text).suffix or Path(text).exists():
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no file, link or command")


def _add_settings(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--device", metavar="ID", help="auto, cpu, cuda:0, mps, or cuda:0,cuda:1")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the trainer")
    group.add_argument("--theme", choices=("system", "light", "dark"))
    group.add_argument("--language", choices=("system", "en", "zh_CN"))
    group.add_argument(
        "--close-to-tray",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="closing the window hides it, or ends the app",
    )
    group.add_argument(
        "--notifications", metavar="KINDS", help="of training, paused, attention, milestones"
    )
    group.add_argument("--dht-port", type=int, metavar="PORT", help="TCP port of this peer")
    group.add_argument("--server-port", type=int, metavar="PORT", help="TCP port of the trainer")
    group.add_argument("--initial-peers", metavar="ADDRESSES", help="comma list of multiaddrs")
    group.add_argument(
        "--report-interval", type=int, metavar="SECONDS", help="how often contributions are closed"
    )
    group.add_argument("--backend-url", metavar="URL", help="the CoTrain backend to report to")
    group.add_argument("--alias", metavar="NAME", help="what the swarm calls this machine")
    group.add_argument("--lab", metavar="NAME", help="the lab that it belongs to")
    group.add_argument(
        "--publish-machine",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show this machine's figures to the swarm, or don't",
    )
    group.add_argument(
        "--term",
        dest="terms",
        action=_Terms,
        metavar="NAME=VALUE",
        help="when this machine trains and how much of it, such as idle_minutes=10,"
        " max_temperature=80 or 'schedule=mon-fri 18:00-08:00'; may be given several times",
    )
    group.add_argument("--update-url", metavar="URL", help="where the newest version is published")
    group.add_argument("--update-key", metavar="KEY", help="the publisher's public key")
    group.add_argument("--debug", action="store_true", default=None, help="log in detail")


class _Terms(argparse.Action):
    """Gathers ``NAME=VALUE`` in a dictionary."""

    @override
    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, *rest: Any
    ) -> None:
        name, equals, value = str(rest[0]).partition("=")
        if not equals:
            parser.error(f"argument --term: {rest[0]!r} must be NAME=VALUE")
        terms = getattr(options, self.dest) or {}
        setattr(options, self.dest, terms | {name.strip(): value})


def _add_account(group: "argparse._MutuallyExclusiveGroup") -> None:
    group.add_argument(
        "--sign-in",
        default="",
        metavar="EMAIL",
        help="headless: sign in to the backend, and stay so; the password is read from"
        " COTRAIN_PASSWORD, or else from the input",
    )
    group.add_argument("--sign-out", action="store_true", help="headless: forget the sign-in")


def _add_network(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--reachability",
        choices=("auto", "public", "relay", "client"),
        help="how others reach this machine (auto: find out)",
    )
    group.add_argument(
        "--announce", metavar="HOSTS", help="names or addresses of this machine, as others know it"
    )
    group.add_argument("--trusted-relays", metavar="ADDRESSES", help="comma list of multiaddrs")


def _add_callback(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--no-callback", dest="callback", action="store_false", default=None, help="don't serve it"
    )
    group.add_argument("--callback-host", metavar="ADDRESS", help="IP address to listen on")
    group.add_argument("--callback-port", type=int, metavar="PORT", help="TCP port, 0 for any")
    group.add_argument("--callback-allowed-hosts", metavar="NAMES", help="besides loopback's")
    group.add_argument("--callback-origins", metavar="ORIGINS", help="web pages that may call")
    group.add_argument("--callback-certificate", metavar="FILE", help="PEM file, for https")
    group.add_argument("--callback-key", metavar="FILE", help="PEM file, for https")
    group.add_argument(
        "--consent",
        choices=("ask", "always", "never"),
        help="may a task from outside train here (always: from the listed backends)",
    )
    group.add_argument("--consent-backends", metavar="NETWORKS", help="comma list of addresses")


def has_display() -> bool:
    """A window could be shown here."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
