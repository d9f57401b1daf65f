"""What the charts show, as CSV and JSON that others can read."""

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest

from app.common.errors import DatabaseError, ExportError
from app.curves import export
from app.curves.storage import CurveFile, StoredRun
from app.state.history import BUCKETS, Bucket

RUN = StoredRun(run_id="docs", title="=Python's «documentation»", saved_at=1000.0)

SECONDS: list[Bucket] = [(1800 + each, 0.5, 1) for each in range(BUCKETS - 2)]
"""With two more, the ring by the second is full: it has forgotten what was before."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "curves.sqlite"
    curves = CurveFile.open(path)
    curves.save(
        RUN,
        {
            ("loss", 1.0): [(1200, 3.0, 2), (1201, 0.0, 0), *SECONDS],
            ("loss", 12.0): [(98, 8.0, 4), (99, 0.0, 0), (100, 6.0, 2), (165, 1.0, 1)],
            ("loss", 144.0): [(8, 14.0, 6), (13, 1.0, 1)],
            ("swarm_samples_per_second", 1.0): [(1200, 90.0, 3)],
            ("swarm_samples_per_second", 12.0): [(100, 90.0, 3)],
        },
    )
    curves.close()
    return path


def test_csv_has_each_moment_once_in_the_finest_resolution(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "curves.csv"
    assert export.write(target, file=file, run=RUN) == 3 + len(SECONDS)
    lines = list(csv.DictReader(io.StringIO(target.read_text())))
    loss = [line for line in lines if line["series"] == "loss"]
    assert [(line["time"][11:19], line["seconds"], line["value"]) for line in loss[:4]] == [
        ("00:19:36", "12.0", "2.0"),
        ("00:20:00", "1.0", "1.5"),
        ("00:30:00", "1.0", "0.5"),
        ("00:30:01", "1.0", "0.5"),
    ]
    assert [line["count"] for line in loss[:4]] == ["4", "2", "1", "1"]


def test_json_says_which_run_it_is_and_the_units(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "curves.json"
    export.write(target, file=file, run=RUN)
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["format"] == export.FORMAT
    assert (document["run_id"], document["title"]) == (RUN.run_id, RUN.title)
    assert document["series"]["loss"]["unit"] == "nats per token"
    assert document["series"]["swarm_samples_per_second"] == {
        "unit": "samples per second",
        "points": [
            {"time": "1970-01-01T00:20:00+00:00", "seconds": 1.0, "value": 30.0, "count": 3}
        ],
    }


def test_a_run_without_curves_is_an_empty_document(file: Path, tmp_path: Path) -> None:
    other = StoredRun(run_id="other", title="", saved_at=0.0)
    assert export.write(tmp_path / "a.json", file=file, run=other) == 0
    assert json.loads((tmp_path / "a.json").read_text())["series"] == {}


def test_a_place_that_cant_be_written_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="can't be written"):
        export.write(tmp_path / "missing" / "a.csv", file=file, run=RUN)


def test_it_is_read_while_the_app_writes(file: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM buckets")
    try:
        assert export.runs(file) == [RUN]
        assert export.write(tmp_path / "a.csv", file=file, run=RUN) == 3 + len(SECONDS)
    finally:
        writer.close()


def test_where_nothing_was_kept_there_are_no_runs_and_no_file(tmp_path: Path) -> None:
    assert export.runs(tmp_path / "none.sqlite") == []
    assert list(tmp_path.glob("none*")) == []


def test_a_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "curves.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE pets (name TEXT)")
    other.execute("PRAGMA user_version = 1")
    other.close()
    with pytest.raises(DatabaseError, match="can't be read"):
        export.runs(path)
