"""The file with the curves: what is written is read back, and it stays small."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.common.errors import DatabaseError
from app.curves.storage import MOST_RUNS, CurveFile, StoredRun
from app.state.history import BUCKETS, RESOLUTIONS, Bucket
from tests.support.damage import damages

RUN = StoredRun(run_id="docs", title="Python's documentation", saved_at=1000.0)
LOSS = ("loss", 1.0)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[CurveFile]:
    opened = CurveFile.open(tmp_path / "curves.sqlite")
    yield opened
    opened.close()


def run(name: str, *, saved_at: float) -> StoredRun:
    return StoredRun(run_id=name, title=name, saved_at=saved_at)


def test_what_is_written_is_read_back(file: CurveFile) -> None:
    changes: dict[tuple[str, float], list[Bucket]] = {
        LOSS: [(7, 5.5, 2), (8, 0.0, 0), (12, 2.25, 1)],
        ("swarm_loss", 12.0): [(1, 3.0, 1)],
    }
    file.save(RUN, changes)
    assert file.load("docs") == changes
    assert file.load("other") == {}
    assert file.runs() == [RUN]


def test_a_bucket_takes_the_place_of_its_earlier_state(file: CurveFile) -> None:
    file.save(RUN, {LOSS: [(7, 5.5, 2)]})
    file.save(RUN, {LOSS: [(7, 9.5, 3), (8, 1.0, 1)]})
    assert file.load("docs") == {LOSS: [(7, 9.5, 3), (8, 1.0, 1)]}


def test_the_oldest_buckets_are_dropped(file: CurveFile) -> None:
    for start in range(0, 3 * BUCKETS, BUCKETS // 2):
        file.save(RUN, {LOSS: [(start + each, 1.0, 1) for each in range(BUCKETS // 2)]})
    kept = file.load("docs")[LOSS]
    assert [bucket for bucket, _total, _count in kept] == list(range(2 * BUCKETS, 3 * BUCKETS))


def test_the_runs_written_last_are_kept_and_nothing_of_others(file: CurveFile) -> None:
    for number in range(MOST_RUNS + 3):
        file.save(run(f"run-{number}", saved_at=number), {LOSS: [(number, 1.0, 1)]})
    file.save(run("run-5", saved_at=500.0), {LOSS: [(5, 1.0, 1)]})
    assert [each.run_id for each in file.runs()][:2] == ["run-5", f"run-{MOST_RUNS + 2}"]
    assert len(file.runs()) == MOST_RUNS
    counts = [
        file._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("rings", "buckets")
    ]
    assert counts == [MOST_RUNS, MOST_RUNS]


def test_runs_are_forgotten_by_a_pattern(file: CurveFile) -> None:
    for name in ("demo-0a", "demo-1b", "docs"):
        file.save(run(name, saved_at=1.0), {LOSS: [(1, 1.0, 1)]})
    file.forget("demo-[0-9a-f]*")
    assert [each.run_id for each in file.runs()] == ["docs"]
    assert file.load("demo-0a") == {}


def test_buckets_of_a_time_to_come_are_left_out(file: CurveFile) -> None:
    """They would take in all values until that time."""
    file.save(RUN, {LOSS: [(7, 1.0, 1), (4_000_000_000, 1.0, 1)]})
    assert file.load("docs", until=2e9) == {LOSS: [(7, 1.0, 1)]}


def test_a_write_that_fails_changes_nothing(file: CurveFile) -> None:
    file.save(RUN, {LOSS: [(7, 1.0, 1)]})
    broken: list[Bucket] = [(8, 1.0, 1), (9, 1.0, -1)]
    with pytest.raises(sqlite3.IntegrityError):
        file.save(run("docs", saved_at=2.0), {LOSS: broken})
    assert file.load("docs") == {LOSS: [(7, 1.0, 1)]}
    assert file.runs() == [RUN]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "curves.sqlite"
    path.write_bytes(b"no database at all" * 100)
    opened = CurveFile.open(path)
    assert opened.set_aside is not None
    assert opened.set_aside.read_bytes().startswith(b"no database")
    assert opened.runs() == []
    opened.close()


def test_a_file_that_cant_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "curves.sqlite").mkdir()
    with pytest.raises(DatabaseError, match="can't be opened"):
        CurveFile.open(tmp_path / "curves.sqlite")


def test_a_full_run_takes_less_than_half_a_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "curves.sqlite"
    opened = CurveFile.open(path)
    names = ("loss", "swarm_loss", "held_out_loss", "swarm_held_out_loss", "samples_per_second")
    full: list[Bucket] = [(1_800_000_000 + each, each / 7, 9) for each in range(BUCKETS)]
    opened.save(RUN, {(name, each): full for name in names for each in RESOLUTIONS})
    opened.close()
    assert path.stat().st_size < 0.5e6


def test_however_a_file_is_damaged_it_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.sqlite"
    opened = CurveFile.open(path)
    opened.save(RUN, {LOSS: [(each, 1.5, 1) for each in range(300)]})
    opened.close()
    for _ in damages(path, times=14):
        for beside in tmp_path.glob("curves.*-*"):
            beside.unlink()
        with contextlib.suppress(sqlite3.Error):
            opened = CurveFile.open(path)
            try:
                for bucket, total, count in opened.load("docs").get(LOSS, []):
                    assert isinstance(bucket + total + count, float)
            finally:
                opened.close()
