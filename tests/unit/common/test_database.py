"""Database files are migrated step by step, or left as they were."""

import sqlite3
from pathlib import Path

import pytest

from app.common.database import Migrations, open_database, transaction
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
