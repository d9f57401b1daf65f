"""The organiser's commands on the command line."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.commands.values import add_data_dir

_DATA_DIR = "keep everything in DIR"

_ABOUT = {
    "purpose": ("TEXT", "what the swarm is for"),
    "run_by": ("TEXT", "who runs it, if that isn't NAME"),
    "until": ("DAY", "the last day on which it runs, such as 2027-03-31"),
    "licence": ("TEXT", "of the trained model, such as Apache-2.0"),
    "contact": ("TEXT", "where to ask"),
}
"""Options of ``sign`` that the invite carries for people."""

_FIELDS = {"run_by": "organiser"}
"""Where such an option isn't called as the spec's field is."""


@dataclass(frozen=True, kw_only=True)
class OrganiserCommand:
    """What the organiser of a swarm asks for on the command line."""

    action: str
    """``sign`` an invite, or ``list``, ``add`` or ``remove`` members."""

    swarm: str = ""
    """A file or link of an invite; of members also a run id, "" for our only closed swarm."""

    code: str = ""
    """The peer ids to add or remove."""

    label: str = ""
    """Whose they are."""

    name: str = ""
    """What the organiser calls himself in the invite."""

    closed: bool = False
    """Only members may take part."""

    about: Mapping[str, str] = field(default_factory=dict)
    """What the swarm is for: fields of `app.spec.about.AboutSpec`, those that were given."""

    out: Path | None = None
    """The signed invite to write."""


def add_sign(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``sign``."""
    parser.set_defaults(action="sign", command_of=organiser_of)
    parser.add_argument("of_swarm", metavar="INVITE", help="a *.cotrain file or a cotrain:// link")
    parser.add_argument("--organiser", required=True, metavar="NAME", help="shown with your key")
    parser.add_argument("--closed", action="store_true", help="only members may take part")
    for name, (metavar, meaning) in _ABOUT.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=meaning)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="signed invite")
    add_data_dir(parser, what=_DATA_DIR)


def add_members(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``members``."""
    parser.set_defaults(command_of=organiser_of)
    actions = parser.add_subparsers(required=True, dest="action", metavar="list|add|remove")
    for action in ("list", "add", "remove"):
        made = actions.add_parser(action)
        if action != "list":
            made.add_argument("code", nargs="+", metavar="PEER_ID", help="as the member's app says")
        if action == "add":
            made.add_argument("--label", default="", metavar="TEXT", help="whose it is")
        made.add_argument(
            "--swarm",
            dest="of_swarm",
            default="",
            metavar="SWARM",
            help="run id or invite; may be left away if you organise one closed swarm",
        )
        add_data_dir(made, what=_DATA_DIR)


def organiser_of(options: argparse.Namespace) -> OrganiserCommand:
    """What was asked for, from the parsed command line."""
    return OrganiserCommand(
        action=options.action,
        swarm=options.of_swarm,
        code=" ".join(getattr(options, "code", ())),
        label=getattr(options, "label", ""),
        name=getattr(options, "organiser", ""),
        closed=getattr(options, "closed", False),
        about={
            _FIELDS.get(name, name): text
            for name in _ABOUT
            if (text := getattr(options, name, None)) is not None
        },
        out=getattr(options, "out", None),
    )
