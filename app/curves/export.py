"""Writes everything that the charts show of a run as CSV or JSON.

Each moment is written in the finest resolution that is kept of it: the last twelve minutes by the
second, two weeks by the half-hour.
"""

import csv
import io
import json
import math
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.common.database import unreadable
from app.common.errors import ExportError
from app.common.i18n import _
from app.common.paths import write_atomically
from app.curves.storage import CurveFile, RingName, StoredRun
from app.state.history import BUCKETS, Bucket

FORMAT = "cotrain-curves/1"

_UNITS = {"loss": "nats per token", "per_second": "samples per second", "epoch": "epochs"}
"""By the end of a series' name."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A bucket of a series."""

    series: str
    time: str
    """When the bucket began (ISO 8601, UTC)."""
    seconds: float
    """How long the bucket is."""
    value: float
    """The mean of the values in it."""
    count: int
    """How many values those are."""


def runs(file: Path) -> list[StoredRun]:
    """The runs whose curves are kept, the one written last first. Raises `DatabaseError`."""
    if not file.exists():
        return []
    curves = CurveFile.open(file)
    try:
        return curves.runs()
    except sqlite3.Error as error:
        raise unreadable(file, error) from error
    finally:
        curves.close()


def write(path: Path, *, file: Path, run: StoredRun) -> int:
    """Write all curves of a run, and return how many points there are.

    The format is CSV if the path ends in .csv, else JSON. It may be called while the app writes
    into the file.

    Raises `ExportError` when ``path`` can't be written, `DatabaseError` when ``file`` can't be
    read.
    """
    curves = CurveFile.open(file)
    try:
        points = points_of(curves.load(run.run_id, until=time.time()))
    except sqlite3.Error as error:
        raise unreadable(file, error) from error
    finally:
        curves.close()
    content = to_csv(points) if path.suffix.lower() == ".csv" else to_json(points, run)
    try:
        write_atomically(path, content, mode=0o644)
    except OSError as error:
        raise ExportError(
            _("can't be written: {reason}.").format(reason=error.strerror), field=str(path)
        ) from error
    return len(points)


def points_of(rings: dict[RingName, list[Bucket]]) -> list[CurvePoint]:
    """The points of all series, each series in the order of time. Gaps are left out."""
    return [
        CurvePoint(
            series=series,
            time=datetime.fromtimestamp(bucket * resolution, UTC).isoformat(),
            seconds=resolution,
            value=total / count,
            count=count,
        )
        for series in sorted({series for series, _resolution in rings})
        for resolution, (bucket, total, count) in _finest(rings, series)
    ]


def _finest(rings: dict[RingName, list[Bucket]], series: str) -> list[tuple[float, Bucket]]:
    """The buckets of the finest ring, before them those that only the next coarser one still has,
    and so on up to a ring that has forgotten nothing."""
    found: list[tuple[float, Bucket]] = []
    until = math.inf
    for resolution in sorted(each for name, each in rings if name == series):
        buckets = rings[series, resolution]
        found[:0] = [
            (resolution, each) for each in buckets if each[2] and each[0] * resolution < until
        ]
        if len(buckets) < BUCKETS:
            break
        until = buckets[0][0] * resolution
    return found


def to_csv(points: Iterable[CurvePoint]) -> bytes:
    """A line for each point."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(CurvePoint.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    return text.getvalue().encode()


def to_json(points: Iterable[CurvePoint], run: StoredRun) -> bytes:
    """One document: which run it is, and the points of each series."""
    series: dict[str, list[dict[str, object]]] = {}
    for point in points:
        fields = asdict(point)
        series.setdefault(fields.pop("series"), []).append(fields)
    document = {
        "format": FORMAT,
        "run_id": run.run_id,
        "title": run.title,
        "series": {name: {"unit": _unit(name), "points": found} for name, found in series.items()},
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _unit(series: str) -> str:
    return next((unit for end, unit in _UNITS.items() if series.endswith(end)), "")
