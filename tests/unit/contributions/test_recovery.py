"""What was in a damaged ledger is in the new one, as far as it can be read, and nothing else."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.common.database import Migrations, open_database, transaction
from app.common.errors import DatabaseError
from app.common.signing import MachineKey, as_text, from_text
from app.contributions import recovery
from app.contributions.ledger import Ledger, OutboxState
from app.contributions.pages import DEFAULT_PAGE_BYTES as PAGE_BYTES
from app.contributions.recovery import PENDING
from tests.support.training.works import contribution

COUNT = 400
Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> MachineKey:
    return MachineKey.load_or_create(tmp_path_factory.mktemp("key") / "machine.key")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, key: MachineKey) -> bytes:
    """A ledger with contributions in each state, and one that is open."""
    made = tmp_path_factory.mktemp("whole") / "ledger.sqlite"
    ledger = Ledger.open(made, backend="https://b.example")
    with transaction(ledger._connection):
        for number in range(COUNT):
            each = contribution(number, session_id=None if number % 5 == 4 else 7).signed(key)
            ledger.add(each)
            if number % 5 in (0, 1, 2):
                ledger.outbox.begin_sending(each.id, 1.0)
            if number % 5 == 0:
                ledger.outbox.confirm(each.id, 1.0, "http")
            if number % 5 == 1:
                ledger.outbox.refuse(each.id, 1.0, "no")
    ledger.save_open(contribution(COUNT))
    ledger.close()
    return made.read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Iterator[Path]:
    made = tmp_path / "data" / "ledger.sqlite"
    made.parent.mkdir()
    made.write_bytes(whole)
    yield made
    assert not list(made.parent.glob("recovery-*"))


STATES = [
    OutboxState.CONFIRMED,
    OutboxState.REFUSED,
    OutboxState.SENDING,
    OutboxState.SENDING,  # it waited, and may have been sent for all that we know
    OutboxState.LOCAL,
]


def rest_of(path: Path, damage: Damage, key: MachineKey) -> int:
    """How many are still there after the damage; what is there is as it was."""
    path.write_bytes(damage(path.read_bytes()))
    ledger = Ledger.open(path, backend="https://b.example")
    try:
        assert ledger.recovery is not None
        entries = ledger.all(limit=-1)
        for entry in entries:
            number = int(entry.contribution.id[-12:])
            session_id = None if number % 5 == 4 else 7
            expected = contribution(number, session_id=session_id).signed(key)
            signature = from_text(entry.contribution.signature)  # base64 has bits without meaning
            assert replace(entry.contribution, signature=as_text(signature)) == expected
            assert entry.state is STATES[number % 5]
        numbers = [int(entry.contribution.id[-12:]) for entry in entries]
        assert numbers == sorted(set(numbers), reverse=True)
        assert ledger.recovery.recovered == len(entries) + len(ledger.left_open())
        assert ledger.recovery.lost <= COUNT + 1 - ledger.recovery.recovered
        return len(entries)
    finally:
        ledger.close()


def page(number: int, content: bytes) -> Damage:
    """Overwrite a page, counted from 0."""

    def damage(whole: bytes) -> bytes:
        start = number * PAGE_BYTES
        return whole[:start] + content * (PAGE_BYTES // len(content)) + whole[start + PAGE_BYTES :]

    return damage


DAMAGES: dict[str, tuple[Damage, int]] = {
    "head zeroed": (lambda whole: b"\0" * 200 + whole[200:], COUNT),
    "first page": (page(0, b"x"), COUNT),
    "a page of the middle": (page(40, b"\xff"), COUNT - 20),
    "three pages": (
        lambda whole: page(10, b"\0")(page(20, b"\xff")(page(30, b"ab")(whole))),
        COUNT - 60,
    ),
    "first and another page": (lambda whole: page(0, b"\0")(page(40, b"\0")(whole)), COUNT - 20),
    "cut off": (lambda whole: whole[: len(whole) // 2 + 7], COUNT // 3),
    "first page, and cut off": (
        lambda whole: b"\0" * PAGE_BYTES + whole[PAGE_BYTES : len(whole) // 2 + 7],
        COUNT // 3,
    ),
    "nothing is left": (lambda whole: b"x" * len(whole), 0),
    "a short text": (lambda _whole: b"gone", 0),
}


@pytest.mark.parametrize(("damage", "at_least"), DAMAGES.values(), ids=DAMAGES)
def test_what_can_be_read_is_kept(
    path: Path, key: MachineKey, damage: Damage, at_least: int
) -> None:
    found = rest_of(path, damage, key)
    assert at_least <= found <= COUNT


def test_each_is_for_the_same_backend_as_before(path: Path) -> None:
    path.write_bytes(page(0, b"\0")(path.read_bytes()))
    ledger = Ledger.open(path, backend="https://other.example")
    assert {entry.backend for entry in ledger.all(limit=-1)} == {"https://b.example"}
    assert ledger.outbox.uncertain() == []
    ledger.close()


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_lets_nothing_false_in(path: Path, key: MachineKey, seed: int) -> None:
    chance = random.Random(seed)

    def damage(whole: bytes) -> bytes:
        content = bytearray(whole)
        for _ in range(40):
            content[chance.randrange(len(content))] = chance.randrange(256)
        content[100] = 0  # the kind of the first page, so that it is noticed
        return bytes(content)

    rest_of(path, damage, key)


def without_interior_pages(whole: bytes) -> bytes:
    """All pages that lead to others zeroed, so that no leaf can be found."""
    content = bytearray(whole)
    for start in range(PAGE_BYTES, len(content), PAGE_BYTES):
        if content[start] == 5:
            content[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
    return bytes(content)


def test_rows_are_found_without_the_pages_that_lead_to_them(path: Path, key: MachineKey) -> None:
    assert rest_of(path, without_interior_pages, key) == COUNT


def test_what_cannot_be_read_is_counted(path: Path) -> None:
    path.write_bytes(page(40, b"\0")(page(20, b"\xff")(path.read_bytes())))
    ledger = Ledger.open(path)
    assert ledger.recovery is not None
    assert ledger.recovery.recovered + ledger.recovery.lost == COUNT + 1
    assert ledger.recovery.lost > 0
    ledger.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_ledger_cut_off_anywhere_keeps_its_beginning(
    path: Path, key: MachineKey, seed: int
) -> None:
    everything = path.stat().st_size
    size = random.Random(seed).randrange(PAGE_BYTES, everything)
    found = rest_of(path, lambda whole: whole[:size], key)
    assert found >= COUNT * size // everything - 60  # indexes lie in between


def test_what_was_only_in_the_log_of_a_killed_app_is_found(path: Path, key: MachineKey) -> None:
    writer = Ledger.open(path, backend="https://b.example")
    late = contribution(COUNT + 1).signed(key)
    writer.add(late)
    copy = path.with_name("copy.sqlite")
    shutil.copyfile(path.with_name("ledger.sqlite-wal"), copy.with_name("copy.sqlite-wal"))
    copy.write_bytes(page(40, b"\0")(path.read_bytes()))
    writer.close()
    ledger = Ledger.open(copy, backend="https://b.example")
    assert late in [entry.contribution for entry in ledger.all(limit=-1)]
    assert ledger.recovery is not None
    ledger.close()


def test_forged_rows_are_left_out(path: Path, key: MachineKey) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE contributions SET compute_time = 1e6 WHERE number <= 10")
    connection.commit()
    connection.close()
    assert rest_of(path, page(40, b"\0"), key) <= COUNT - 10


def test_an_open_interval_is_finished(path: Path, key: MachineKey) -> None:
    path.write_bytes(page(0, b"\0")(path.read_bytes()))
    ledger = Ledger.open(path)
    assert ledger.left_open() == [contribution(COUNT)]
    ledger.close()


def test_the_damaged_file_stays_as_it_was(path: Path) -> None:
    damaged = page(0, b"\0")(path.read_bytes())
    path.write_bytes(damaged)
    ledger = Ledger.open(path)
    assert ledger.recovery is not None
    assert ledger.recovery.aside.read_bytes() == damaged
    assert ledger.totals().contributions == COUNT
    ledger.close()
    again = Ledger.open(path)
    assert (again.recovery, again.totals().contributions) == (None, COUNT)
    again.close()


# --- what ends the app meanwhile -----------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from app.contributions import recovery
from app.contributions.ledger import Ledger

calls = 0

def wrapped(call):
    def dies(*arguments, **options):
        global calls
        if calls == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return call(*arguments, **options)
    return dies

owner, name = (Path, "rename") if sys.argv[2] == "rename" else (recovery, sys.argv[2])
setattr(owner, name, wrapped(getattr(owner, name)))
Ledger.open(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        ("open_database", 0),  # the damaged file has gone to its own name
        ("recover", 0),  # the new one is empty
        ("_write", COUNT // 2),  # half of the rows are in it
        ("rename", 1),  # the damaged file's log isn't moved yet
        ("name_aside", 0),  # all is in the new one, which isn't known yet
    ],
)
def test_an_app_that_is_killed_meanwhile_loses_nothing(
    path: Path, function: str, calls: int
) -> None:
    path.write_bytes(page(0, b"\0")(path.read_bytes()))
    log = path.with_name("ledger.sqlite-wal")
    log.write_bytes(b"no log")
    command = [sys.executable, "-c", KILLED, str(path), function, str(calls)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    ledger = Ledger.open(path)
    assert ledger.recovery is not None
    assert (ledger.recovery.recovered, ledger.recovery.lost) == (COUNT + 1, 0)
    assert ledger.totals().contributions == COUNT
    assert not path.with_name(path.name + PENDING).exists()
    ledger.close()
    again = Ledger.open(path)
    assert (again.recovery, again.totals().contributions) == (None, COUNT)
    again.close()


def test_a_full_disk_is_explained_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_small_disk(file: Path, *, migrations: Migrations) -> Any:
        connection, aside = open_database(file, migrations=migrations)
        connection.execute("PRAGMA max_page_count = 16")
        return connection, aside

    path.write_bytes(page(0, b"\0")(path.read_bytes()))
    with monkeypatch.context() as full:
        full.setattr(recovery, "open_database", on_a_small_disk)
        for _ in range(2):
            with pytest.raises(DatabaseError, match="disk is full") as caught:
                Ledger.open(path)
            assert (caught.value.field, bool(caught.value.remedy)) == (str(path), True)
    ledger = Ledger.open(path)
    assert ledger.recovery is not None
    assert (ledger.recovery.recovered, ledger.recovery.lost) == (COUNT + 1, 0)
    ledger.close()


def test_an_unfinished_ledger_that_is_damaged_too_is_set_aside(path: Path) -> None:
    path.write_bytes(page(0, b"\0")(path.read_bytes()))
    path.rename(path.with_name(path.name + PENDING))
    path.write_bytes(b"x" * 5000)
    ledger = Ledger.open(path)
    assert ledger.recovery is not None
    assert ledger.recovery.recovered == COUNT + 1
    ledger.close()
