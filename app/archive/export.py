"""Writes the machines' figures over time as CSV or Parquet, row by row: there may be millions."""

import csv
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from app.archive.storage import MIGRATIONS
from app.common import plain
from app.common.database import open_database, unreadable
from app.common.errors import ExportError
from app.common.i18n import _
from app.swarm.fleet import METRICS

COLUMNS = ("run", "machine", "lab", "device", "public_key", "time", "seconds", *METRICS)
"""``time`` is when the ``seconds`` that a row stands for begin; the rest is as in
`app.p2p.machine_records.MachineRecord`."""

ROWS_AT_ONCE = 50_000

FigureRow = tuple[Any, ...]
"""The values of `COLUMNS`; the time in seconds since the epoch."""


def runs(file: Path) -> list[tuple[str, int]]:
    """The runs in an archive, and how many machines each has, the one seen last first.

    Raises `DatabaseError`.
    """
    if not file.exists():
        return []
    try:
        with closing(open_database(file, migrations=MIGRATIONS)[0]) as archive:
            found = archive.execute(
                "SELECT run_id, count(*) FROM machines GROUP BY run_id ORDER BY max(last_seen) DESC"
            )
            return [(run_id, count) for run_id, count in found]
    except sqlite3.Error as error:
        raise unreadable(file, error) from error


def write(path: Path, *, file: Path, run_id: str) -> int:
    """Write all figures of a run's machines, and return how many rows there are.

    The format is Parquet if the path ends in .parquet, else CSV. It may be called while the app
    writes into the file. Blocks for seconds where there is much.

    Raises `ExportError` when ``path`` can't be written, `DatabaseError` when ``file`` can't be
    read.
    """
    part = path.with_name(f"{path.name}.part")
    write_rows = _write_parquet if path.suffix.lower() == ".parquet" else _write_csv
    try:
        with closing(open_database(file, migrations=MIGRATIONS)[0]) as archive:
            count = write_rows(part, _rows(archive, run_id))
        part.replace(path)
    except sqlite3.Error as error:
        raise unreadable(file, error) from error
    except OSError as error:
        raise ExportError(
            _("can't be written: {reason}.").format(reason=error.strerror or error),
            field=str(path),
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _rows(archive: sqlite3.Connection, run_id: str) -> Iterator[FigureRow]:
    figures = ", ".join(METRICS)
    found = archive.execute(
        "SELECT run_id, alias, lab, device, public_key, time / step * step, step,"  # noqa: S608  our names
        f" {figures} FROM machines JOIN figures ON machine = number WHERE run_id = ?"
        " ORDER BY machine, time",
        (run_id,),
    )
    return (tuple(row) for row in found)


def _write_csv(path: Path, rows: Iterable[FigureRow]) -> int:
    count = 0
    # without the byte order mark, spreadsheets assume the system's old encoding
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            texts, (time, seconds), figures = row[:5], row[5:7], row[7:]
            moment = datetime.fromtimestamp(time, UTC).isoformat()
            writer.writerow([*map(plain.cell, texts), moment, seconds, *figures])
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[FigureRow]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    text = pa.dictionary(pa.int32(), pa.string())
    kinds = [*[text] * 5, pa.timestamp("s", tz="UTC"), pa.int32(), *[pa.float32()] * len(METRICS)]
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            columns = [_known(column) for column in zip(*some, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(some)
    return count


def _known(column: Sequence[Any]) -> list[Any]:
    """A column with None for what isn't finite."""
    return [
        None if isinstance(value, float) and not math.isfinite(value) else value for value in column
    ]
