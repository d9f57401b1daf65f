"""The archive's file: what it keeps, how it thins with age, and its bounds."""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.archive import storage
from app.archive.storage import MIGRATIONS, ArchivedMachine, ArchiveRow, load, rows_of, save, thin
from app.common.database import open_database
from app.swarm.fleet import METRICS

HOUR, DAY = 3600.0, 24 * 3600.0
NOW = 400 * DAY + 3600.0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection, _aside = open_database(tmp_path / "m.sqlite", migrations=MIGRATIONS)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def row(time: float, loss: float) -> ArchiveRow:
    return (time, *(loss if name == "loss" else math.nan for name in METRICS))


def machine(
    *rows: ArchiveRow, key: str = "key", seen: float = NOW, vouched: bool = True
) -> ArchivedMachine:
    return ArchivedMachine(
        public_key=key,
        alias="lab-01",
        lab="",
        device="RTX 4090",
        first_seen=seen,
        last_seen=seen,
        vouched=vouched,
        rows=rows,
    )


def losses(found: list[ArchiveRow]) -> list[float]:
    return [each[1 + METRICS.index("loss")] for each in found]


def steps(file: sqlite3.Connection) -> list[tuple[int, int]]:
    """How many rows there are of each step."""
    return [
        tuple(each)
        for each in file.execute("SELECT step, count(*) FROM figures GROUP BY step ORDER BY step")
    ]


def test_figures_come_back_as_they_were(file: sqlite3.Connection) -> None:
    save(file, "run", [machine(row(NOW + 5, 2.5), row(NOW + 15, 2.25))])
    save(file, "run", [machine(row(NOW + 15, 2.0))])  # the last step once more
    found = load(file, "run", "key", since=NOW, step=10)
    assert [each[0] for each in found] == [NOW + 5, NOW + 15]
    assert losses(found) == [2.5, 2.0]
    assert math.isnan(found[0][1])
    assert load(file, "other", "key", since=0, step=10) == []
    assert load(file, "run", "nobody", since=0, step=10) == []


def test_means_over_longer_steps(file: sqlite3.Connection) -> None:
    save(file, "run", [machine(row(NOW + 5, 2.0), row(NOW + 15, 4.0), row(NOW + 305, 1.0))])
    found = load(file, "run", "key", since=NOW, step=300)
    assert [(each[0], loss) for each, loss in zip(found, losses(found), strict=True)] == [
        (NOW + 150, 3.0),
        (NOW + 450, 1.0),
    ]


def test_a_day_in_full_then_thinned_and_after_a_year_gone(file: sqlite3.Connection) -> None:
    begin = NOW - 3 * DAY
    save(file, "run", [machine(*(row(begin + 10 * n, float(n % 2)) for n in range(60)))])
    save(file, "run", [machine(*(row(NOW - 100 + 10 * n, 7.0) for n in range(6)))])
    thin(file, NOW)
    assert steps(file) == [(10, 6), (300, 2)]
    assert losses(load(file, "run", "key", since=0, step=300))[:2] == [0.5, 0.5]
    thin(file, NOW + 20 * DAY)
    assert steps(file) == [(3600, 2)]
    thin(file, NOW + 500 * DAY)
    assert steps(file) == []


def test_thins_earlier_where_there_is_too_much(
    file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_ROWS", 100)
    save(file, "run", [machine(*(row(NOW - 10 * n, 1.0) for n in range(1, 361)))])
    thin(file, NOW)
    assert sum(count for _step, count in steps(file)) <= 100
    assert losses(load(file, "run", "key", since=0, step=300))  # and none is lost
    assert min(each[0] for each in load(file, "run", "key", since=0, step=10)) < NOW - 3500


def test_strangers_go_first_where_there_are_too_many(
    file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_MACHINES", 2)
    known = [machine(row(NOW, 1.0), key=key, seen=NOW - 50) for key in ("a", "b")]
    strangers = [machine(row(NOW, 1.0), key=f"s{n}", vouched=False) for n in range(5)]
    save(file, "run", [*strangers, *known])
    thin(file, NOW)
    kept = [each["public_key"] for each in file.execute("SELECT public_key FROM machines")]
    assert kept == ["a", "b"]
    assert steps(file) == [(10, 2)]


def test_rows_without_any_value_are_left_out() -> None:
    nothing = [math.nan, math.nan]
    assert rows_of([1.0, 2.0], [math.nan, 3.0], nothing)[0][:2] == (2.0, 3.0)
    assert rows_of([], [], []) == ()
