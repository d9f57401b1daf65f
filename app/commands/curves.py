"""``curves``: write the charts' curves of a run to a file."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CurvesCommand:
    """Which run's curves to write, and where to."""

    run_id: str = ""
    """Empty for the run that was written down last."""

    to: Path | None = None
    """CSV if it ends in .csv, else JSON. None: only list the runs whose curves are kept."""


def add_curves(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``curves``."""
    parser.set_defaults(curves=True)
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
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=argparse.SUPPRESS,  # else it would hide the one that stands before the command
        metavar="DIR",
        help="the data folder of the app that was in the swarm",
    )


def curves_of(options: argparse.Namespace) -> CurvesCommand | None:
    """What was asked for, from the parsed command line; None for another command."""
    if not hasattr(options, "curves"):
        return None
    return CurvesCommand(run_id=options.curves_of, to=options.curves_to)
