"""Database files are migrated step by step, or left as they were."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from app.common.database import DatabaseThread, Migrations, open_database, transaction
from app.common.errors import DatabaseError

ONE: Migrations = (("CREATE TABLE pets (name TEXT)", "INSERT INTO pets VALUES ('Rex')"),)
TWO: Migrations = (*ONE, ("ALTER TABLE pets ADD COLUMN legs INTEGER NOT NULL DEFAULT 4",))
BROKEN: Migrations = (*TWO, ("DELETE FROM pets", "INSERT INTO no_such_table VALUES (1)"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pets.sqlite"


def pets(path: Path, migrations: Migrations) -> list[tuple[object, ...]]:
    connection, aside = open_database(path, migrations=migrations)
    found = [tuple(row) for row in connection.execute("SELECT * FROM pets")]
    connection.close()
    assert aside is None
    return found


def test_new_file_gets_all_migrations(path: Path) -> None:
    assert pets(path, TWO) == [("Rex", 4)]


def test_old_file_gets_only_the_migrations_it_lacks(path: Path) -> None:
    assert pets(path, ONE) == [("Rex",)]
    assert pets(path, TWO) == [("Rex", 4)]
    assert pets(path, TWO) == [("Rex", 4)]


def test_migration_that_fails_leaves_everything_as_it_was(path: Path) -> None:
    pets(path, TWO)
    with pytest.raises(DatabaseError, match="no_such_table"):
        open_database(path, migrations=BROKEN)
    assert pets(path, TWO) == [("Rex", 4)]


def test_transaction_is_all_or_nothing(path: Path) -> None:
    connection, _ = open_database(path, migrations=ONE)
    with pytest.raises(sqlite3.ProgrammingError), transaction(connection):
        connection.executemany("DELETE FROM pets WHERE name = ?", [("Rex",), ("Rex", "no")])
    assert connection.execute("SELECT count(*) FROM pets").fetchone()[0] == 1
    with transaction(connection):
        connection.execute("DELETE FROM pets")
    assert connection.execute("SELECT count(*) FROM pets").fetchone()[0] == 0
    connection.close()


def test_file_is_read_while_it_is_written(path: Path) -> None:
    connection, _ = open_database(path, migrations=ONE)
    with transaction(connection):
        connection.execute("INSERT INTO pets VALUES ('Tom')")
        assert pets(path, ONE) == [("Rex",)]
    connection.close()


def test_every_commit_reaches_the_disk(path: Path) -> None:
    connection, _ = open_database(path, migrations=ONE)
    settings = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    connection.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_locked_file_is_not_taken_for_a_damaged_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.common.database.LOCK_SECONDS", 0.0)
    pets(path, ONE)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match="locked"):
        open_database(path, migrations=TWO)
    holder.close()
    assert [file.name for file in path.parent.glob("pets*damaged*")] == []


# --- on a thread of its own ----------------------------------------------------------------------


def add(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO things VALUES (?)", (number,))
    return number


def thread_of(path: Path) -> DatabaseThread:
    made = (("CREATE TABLE things (number INTEGER CHECK (number < 10))",),)
    return DatabaseThread(path, migrations=made, name="the things")


async def test_what_was_begun_is_done_before_the_file_is_closed(tmp_path: Path) -> None:
    file = thread_of(tmp_path / "things.sqlite")
    await file.open()
    assert await asyncio.gather(*(file.run(add, number) for number in range(3))) == [0, 1, 2]
    await file.close()
    await file.close()
    assert await file.run(add, 3) is None
    with contextlib.closing(sqlite3.connect(tmp_path / "things.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (3,)


async def test_a_failure_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = thread_of(tmp_path / "things.sqlite")
    await file.open()
    assert [await file.run(add, number) for number in (99, 98, 5)] == [None, None, 5]
    assert caplog.text.count("the things can't be kept") == 1
    await file.close()


async def test_a_file_that_can_t_be_opened_holds_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = thread_of(tmp_path)  # a folder
    await file.open()
    assert not file.is_open
    assert await file.run(add, 1) is None
    assert "the things can't be kept" in caplog.text
    await file.close()
