"""``lab``: the key of a lab, pairing this machine, and commands to the lab's machines."""

import argparse
from dataclasses import dataclass, field
from typing import Any

from app.commands.values import add_data_dir

LAB_ACTIONS = ("start", "stop", "pause", "set", "move", "export")
"""Those that are commands to machines."""

_WAIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class LabAsked:
    """What the admin of a lab, or the owner of a machine, asks for on the command line."""

    action: str
    """``key``, ``pair``, ``unpair``, ``list``, or one of `LAB_ACTIONS`."""

    key: str = ""
    """Of ``pair``: a public key, or a file that has one."""

    swarm: str = ""
    """A file or link of an invite."""

    minutes: str = ""
    """Of ``pause``."""

    values: dict[str, str] = field(default_factory=dict)
    """Of ``set``."""

    destination: str = ""
    """Of ``move``: a file or link of an invite."""

    machines: tuple[str, ...] = ()
    """Aliases or public keys, which may be cut short."""

    everyone: bool = False
    """All machines of the swarm."""

    wait: float = _WAIT_SECONDS
    """Seconds to wait for machines that have begun."""

    as_json: bool = False
    """One JSON object a line instead of words."""


class _Values(argparse.Action):
    """Collects ``NAME=VALUE`` in a dictionary."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.Namespace,
        given: object,
        option: str | None = None,
    ) -> None:
        name, equals, value = str(given).partition("=")
        if not equals or not name.strip():
            parser.error(f"{given!r} must be NAME=VALUE")
        known = getattr(options, "lab_values", None) or {}
        options.lab_values = known | {name.strip(): value}


class _AnyOrder(argparse.ArgumentParser):
    """Takes machines after an option too, as Python's parser does from 3.12 on."""

    _is_parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse.ArgumentParser` has it, whose other way of parsing comes back to this."""
        if self._is_parsing:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_parsing = False


def add_lab(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lab``."""
    parser.set_defaults(command_of=lab_of)
    actions = parser.add_subparsers(
        required=True, dest="lab_action", metavar="ACTION", parser_class=_AnyOrder
    )
    made = actions.add_parser("key", help="show the lab's public key; made at the first time")
    _finish(made)
    made = actions.add_parser("pair", help="let a lab command this machine")
    made.add_argument("paired_with", metavar="KEY", help="the lab's public key, or a file with it")
    _finish(made)
    _finish(actions.add_parser("unpair", help="let no lab command this machine"))
    made = actions.add_parser("list", help="the machines of a swarm")
    _add_swarm(made)
    _finish(made)
    for action in LAB_ACTIONS:
        _add_action(actions.add_parser(action), action)


def _add_action(parser: argparse.ArgumentParser, action: str) -> None:
    match action:
        case "pause":
            parser.add_argument("minutes", metavar="MINUTES")
        case "set":
            parser.add_argument("first", action=_Values, metavar="NAME=VALUE")
            parser.add_argument("--also", action=_Values, metavar="NAME=VALUE")
        case "move":
            parser.add_argument("destination", metavar="INVITE", help="of the other swarm")
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help="alias or public key")
    parser.add_argument("--all", dest="everyone", action="store_true", help="all machines")
    parser.add_argument(
        "--wait",
        type=float,
        default=_WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for what takes long, such as an export",
    )
    _add_swarm(parser)
    _finish(parser)


def _add_swarm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--swarm",
        dest="of_swarm",
        required=True,
        metavar="INVITE",
        help="the swarm that the machines are in",
    )


def _finish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="JSON lines")
    add_data_dir(parser, what="the data folder with the lab's key, or of the machine")


def lab_of(options: argparse.Namespace) -> LabAsked:
    """What was asked for, from the parsed command line."""
    return LabAsked(
        action=options.lab_action,
        key=getattr(options, "paired_with", ""),
        swarm=getattr(options, "of_swarm", ""),
        minutes=getattr(options, "minutes", ""),
        values=getattr(options, "lab_values", None) or {},
        destination=getattr(options, "destination", ""),
        machines=tuple(getattr(options, "machines", ())),
        everyone=getattr(options, "everyone", False),
        wait=getattr(options, "wait", _WAIT_SECONDS),
        as_json=options.as_json,
    )
