"""``curves``: write the charts' curves of a run to a file."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from app.commands.values import add_data_dir


@dataclass(frozen=True, kw_only=True)
class CurvesCommand:
    """Which run's curves to write, and where to."""

    run_id: str = ""
    """Empty for the run that was written down last."""

    to: Path | None = None
    """CSV if it ends in .csv, else JSON. None: only list the runs whose curves are kept."""


def add_curves(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``curves``."""
    parser.set_defaults(command_of=curves_of)
    parser.add_argument(
        "--run",
        dest="curves_of",
        default="",
        metavar="RUN_ID",
        help="the run; the one that was joined last, if left away",
    )
    parser.add_argument(
        "--to",
        dest="curves_to",
        type=Path,
        metavar="FILE",
        help="the file to write, *.csv or *.json; without it, the runs are listed",
    )
    add_data_dir(parser, what="the data folder of the app that was in the swarm")


def curves_of(options: argparse.Namespace) -> CurvesCommand:
    """What was asked for, from the parsed command line."""
    return CurvesCommand(run_id=options.curves_of, to=options.curves_to)
