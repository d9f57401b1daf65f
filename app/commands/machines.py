"""``machines``: write the figures of a swarm's machines over time to a file."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from app.commands.values import add_data_dir


@dataclass(frozen=True, kw_only=True)
class MachinesCommand:
    """Which run's machines to write, and where to."""

    run_id: str = ""
    """Empty for the run that was seen last."""

    to: Path | None = None
    """Parquet if it ends in .parquet, else CSV. None: only list the runs."""


def add_machines(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``machines``."""
    parser.set_defaults(command_of=machines_of)
    parser.add_argument(
        "--run",
        dest="machines_of",
        default="",
        metavar="RUN_ID",
        help="the run; the one that was seen last, if left away",
    )
    parser.add_argument(
        "--to",
        dest="machines_to",
        type=Path,
        metavar="FILE",
        help="the file to write, *.csv or *.parquet; without it, the runs are listed",
    )
    add_data_dir(parser, what="the data folder of the app that watched")


def machines_of(options: argparse.Namespace) -> MachinesCommand:
    """What was asked for, from the parsed command line."""
    return MachinesCommand(run_id=options.machines_of, to=options.machines_to)
