"""Values of arguments that are more than a text or a number."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override


class FilesBySlot(argparse.Action):
    """Collects the ``LABEL=PATH`` of each ``--data`` in a dictionary, the paths absolute."""

    @override
    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, *rest: Any
    ) -> None:
        label, _equals, path = str(rest[0]).partition("=")
        if not label or not path:
            parser.error(f"argument --data: {rest[0]!r} must be LABEL=PATH")
        try:
            absolute = Path(path).expanduser().absolute()
        except RuntimeError as error:  # an unknown ~user
            parser.error(f"argument --data: {path!r}: {error}")
        if not absolute.exists():
            parser.error(f"argument --data: there is no {str(absolute)!r}")
        files = getattr(options, self.dest) or {}
        setattr(options, self.dest, files | {label: str(absolute)})


class TermsByName(argparse.Action):
    """Collects the ``NAME=VALUE`` of each ``--term`` in a dictionary."""

    @override
    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, *rest: Any
    ) -> None:
        name, equals, value = str(rest[0]).partition("=")
        if not equals:
            parser.error(f"argument --term: {rest[0]!r} must be NAME=VALUE")
        terms = getattr(options, self.dest) or {}
        setattr(options, self.dest, terms | {name.strip(): value})


def add_data_dir(parser: argparse.ArgumentParser, *, what: str) -> None:
    """A subcommand's ``--data-dir``. what: the folder's help."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=argparse.SUPPRESS,  # else it would hide the one that stands before the command
        metavar="DIR",
        help=what,
    )


def invite_argument(text: str) -> str:
    """The argument as a link or path; a ``file:`` URL, which desktops pass, becomes a path.

    Raises `argparse.ArgumentTypeError` for a word that is neither, such as a mistyped command.
    """
    if text.lower().startswith("file:"):
        return unquote(urlsplit(text).path)
    if not text or text.lower().startswith("cotrain:") or Path(text).suffix or Path(text).exists():
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no file, link or command")
