"""``export``: take a model out of its run, and upload it."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from app.commands.values import add_data_dir

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
"""``OWNER/NAME`` of a model hub."""


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Which model to take out, and where to."""

    to: Path
    """The folder to write, or with ``upload_only`` the one to read."""

    swarm: str = ""
    """A file or link of the run's invite; "" for the run that trained last on this machine."""

    checkpoint: Path | None = None
    """A folder with checkpoints."""

    overwrite: bool = False
    """Write also where something else is."""

    repository: str = ""
    """``owner/name`` to upload to; "" for nowhere."""

    public: bool = False
    """Everybody may see the repository, if it is made now."""

    upload_only: bool = False
    """The folder was exported before."""

    as_json: bool = False
    """Print lines of JSON."""


def add_export(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``export``."""
    parser.set_defaults(command_of=export_of)
    parser.add_argument(
        "--swarm",
        dest="of_run",
        default="",
        metavar="INVITE",
        help="the run, by its invite's file or link; the one that trained last here, if left away",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="a folder with checkpoints, such as checkpoints/RUN/trainer in the data folder",
    )
    parser.add_argument(
        "--to", dest="export_to", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="also where something else is: a folder is set aside under another name, files of a"
        " repository are replaced",
    )
    parser.add_argument(
        "--upload",
        dest="repository",
        type=_repository,
        metavar="OWNER/NAME",
        help="then upload it to this repository of the Hugging Face hub, private unless --public;"
        " the token is your sign-in's there, HF_TOKEN, or asked for",
    )
    parser.add_argument("--public", action="store_true", help="everybody may see a new repository")
    parser.add_argument(
        "--upload-only",
        action="store_true",
        help="upload the folder as it is, after an upload that broke off",
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="print lines of JSON")
    add_data_dir(parser, what="the data folder of the app that trained")


def export_of(options: argparse.Namespace) -> ExportCommand:
    """What was asked for, from the parsed command line."""
    return ExportCommand(
        to=options.export_to,
        swarm=options.of_run,
        checkpoint=options.checkpoint,
        overwrite=options.overwrite,
        repository=options.repository or "",
        public=options.public,
        upload_only=options.upload_only,
        as_json=options.as_json,
    )


def _repository(text: str) -> str:
    if not REPOSITORY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no OWNER/NAME")
    return text
