"""Runs in the user's own Python, and calls a tracker that is installed there.

Nothing of this app can be imported here, only the standard library, of Python 3.9 or later. The
first line of the standard input says which module to use and what to begin with, each further one
holds values; at its end, the tracker finishes. Reports are lines of JSON on the standard output.
"""

import importlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TextIO

GENTLY = 10
"""Added to the niceness: uploading charts is nobody's hurry."""


def main() -> None:
    """Track until the standard input ends."""
    here = str(Path(__file__).parent)
    sys.path[:] = [folder for folder in sys.path if folder != here]  # no module of ours
    os.nice(GENTLY)
    commands, reports = _take_streams()
    sys.excepthook = partial(_fail, reports)
    start = json.loads(commands.readline())
    try:
        tracker = importlib.import_module(start["module"])
    except ModuleNotFoundError as error:
        if error.name != start["module"]:
            raise
        _report(reports, problem="missing", reason=str(error))
        sys.exit(1)
    tracker.init(**start["arguments"])
    _report(reports, ready=str(getattr(tracker, "__version__", "")))
    for line in commands:
        point = json.loads(line)
        tracker.log(point["values"], step=point["step"])
    tracker.finish()


def _take_streams() -> "tuple[BinaryIO, TextIO]":
    """Commands and reports, out of reach of what the tracker reads and prints."""
    commands = os.fdopen(os.dup(0), "rb")
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return commands, reports


def _fail(
    reports: TextIO,
    kind: "type[BaseException]",
    error: BaseException,
    trace: "TracebackType | None",
) -> None:
    """Say what the tracker has raised; the log gets the traceback."""
    _report(reports, problem="failed", reason=f"{kind.__name__}: {error}")
    sys.__excepthook__(kind, error, trace)


def _report(reports: TextIO, **fields: str) -> None:
    reports.write(json.dumps(fields) + "\n")
    reports.flush()


if __name__ == "__main__":
    main()
