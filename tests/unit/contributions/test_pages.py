"""Records are read from single pages as SQLite has written them, and from anything else nothing."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contributions.pages import Pages

VALUES = [
    (None, 0, 1, -1, 127, 128, -32_769, 2**23, 2**31, 2**40, 2**62, -(2**63)),
    (0.5, -1e300, "", "text", "\u6587\u5b57", b"", b"bytes"),
    ("x" * 100_000,),  # over many pages
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table with many rows and an index, its last row in the log only."""
    made = tmp_path / "any.sqlite"
    connection = sqlite3.connect(made, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE things (a, b)")
    connection.execute("CREATE INDEX by_a ON things (a)")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO things VALUES (?, ?)", [(f"id-{number}", number) for number in range(3000)]
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint")
    connection.execute("INSERT INTO things VALUES ('late', 1)")
    kept = tmp_path / "kept.sqlite"
    kept.write_bytes(made.read_bytes())
    log = made.with_name("any.sqlite-wal").read_bytes()
    kept.with_name("kept.sqlite-wal").write_bytes(log)
    connection.close()
    return kept


def test_all_rows_and_keys_are_found(file: Path) -> None:
    pages = Pages(file)
    rows = {row[1]: row[0] for row in pages.rows() if len(row[1]) == 2}
    assert {f"id-{number}" for number in range(3000)} <= {record[0] for record in rows}
    assert ("late", 1) in rows
    keys = {key[0]: key[1] for key in pages.entries()}
    assert len(keys) == 3001
    assert keys["id-2999"] == rows["id-2999", 2999]


@pytest.mark.parametrize("values", VALUES, ids=len)
def test_every_kind_of_value_is_read(tmp_path: Path, values: tuple[object, ...]) -> None:
    made = tmp_path / "any.sqlite"
    connection = sqlite3.connect(made)
    columns = ", ".join(f"c{number}" for number in range(len(values)))
    connection.execute(f"CREATE TABLE things ({columns})")
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO things VALUES ({marks})", values)
    connection.commit()
    connection.close()
    assert (1, values) in list(Pages(made).rows())


@given(content=st.binary(max_size=3000), log=st.binary(max_size=500))
def test_anything_else_gives_nothing_false(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, log: bytes
) -> None:
    made = tmp_path_factory.mktemp("noise") / "any.sqlite"
    made.write_bytes(content)
    made.with_name("any.sqlite-wal").write_bytes(log)
    pages = Pages(made)
    assert all(isinstance(record, tuple) for _number, record in pages.rows())
    assert all(isinstance(record, tuple) for record in pages.entries())


def test_a_chain_of_pages_that_leads_in_a_circle_ends(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 4] = b"\x0d\x00\x00\x00"
        content[start + 3 : start + 5] = (600).to_bytes(2)
    file.write_bytes(content)
    assert list(Pages(file).rows()) is not None
