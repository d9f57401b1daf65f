"""The figures as files that other programs read."""

import csv
import math
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import parquet

from app import cli
from app.archive import export
from app.archive.export import COLUMNS, runs, write
from app.archive.storage import FILE_NAME, MIGRATIONS, ArchivedMachine, rows_of, save
from app.common.database import open_database
from app.common.errors import DatabaseError, ExportError
from app.headless.run import run as headless
from app.swarm.fleet import METRICS

NOW = 1_700_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two machines of a run, and one of another."""
    file = tmp_path / FILE_NAME
    archive, _aside = open_database(file, migrations=MIGRATIONS)
    for run_id, alias, losses in (
        ("first", "one", [2.5]),
        ("docs", "=1+1", [2.5, math.nan, 2.0]),
        ("docs", "two", [1.5]),
    ):
        times = [NOW + 10 * place + 5 for place in range(len(losses))]
        others = [[3.0] * len(losses)] * (len(METRICS) - 2)
        machine = ArchivedMachine(
            public_key=f"key of {alias}",
            alias=alias,
            lab="lab",
            device="RTX 4090",
            first_seen=NOW,
            last_seen=NOW + (run_id == "docs"),
            vouched=True,
            rows=rows_of(times, [3.0] * len(losses), losses, *others),
        )
        save(archive, run_id, [machine])
    archive.close()
    return file


def test_the_run_seen_last_comes_first(file: Path, tmp_path: Path) -> None:
    assert runs(file) == [("docs", 2), ("first", 1)]
    assert runs(tmp_path / "none.sqlite") == []


def test_csv_has_a_row_for_each_step(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "machines.csv"
    assert write(target, file=file, run_id="docs") == 4
    with target.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["machine"] for row in rows] == ["'=1+1"] * 3 + ["two"]
    assert [row["loss"] for row in rows] == ["2.5", "", "2.0", "1.5"]
    assert (rows[0]["time"], rows[0]["seconds"]) == ("2023-11-14T22:13:20+00:00", "10")
    assert list(rows[0]) == list(COLUMNS)


def test_parquet_holds_the_same_with_types(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    target = tmp_path / "machines.parquet"
    assert write(target, file=file, run_id="docs") == 4
    table = parquet.read_table(target)
    assert table.column_names == list(COLUMNS)
    assert table.column("machine").to_pylist() == ["=1+1"] * 3 + ["two"]
    assert table.column("loss").to_pylist() == [2.5, None, 2.0, 1.5]
    assert table.column("time").to_pylist()[0] == datetime.fromtimestamp(NOW, UTC)


@pytest.mark.parametrize("name", ["nowhere/machines.csv", "nowhere/machines.parquet"])
def test_what_can_t_be_written_is_said(file: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="can't be written"):
        write(tmp_path / name, file=file, run_id="docs")


def test_an_older_file_stays_where_writing_fails(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "machines.csv"
    target.write_text("mine")

    def fails(*_arguments: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(export, "_write_csv", fails)
    with pytest.raises(DatabaseError, match="can't be read"):
        write(target, file=file, run_id="docs")
    assert target.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("machines.csv*")) == ["machines.csv"]


def command(folder: Path, *arguments: str) -> int:
    return headless(cli.parse(["machines", *arguments, "--data-dir", str(folder)]))


def test_on_the_command_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(file.parent) == 0
    assert capsys.readouterr().out.splitlines() == ["docs  2 machines", "first  1 machine"]
    target = tmp_path / "a.csv"
    assert command(file.parent, "--run", "first", "--to", str(target)) == 0
    assert "1 row of the run first saved" in capsys.readouterr().err
    assert len(target.read_text().splitlines()) == 2
    assert command(file.parent, "--run", "none", "--to", str(target)) == 1
    assert "no machines of this run" in capsys.readouterr().err
