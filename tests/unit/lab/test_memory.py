"""What was commanded is remembered over restarts, and nothing that couldn't be written."""

import json
import time
from pathlib import Path

import pytest

from app.lab import memory
from app.lab.memory import MOST_KEPT, CommandMemory

LAB = "lab"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lab-commands.json"


def opened(file: Path, lab: str = LAB) -> CommandMemory:
    made = CommandMemory(file)
    made.begin(lab)
    return made


def test_a_command_and_its_answer_outlive_the_app(file: Path) -> None:
    first = opened(file)
    first.accept(LAB, 7, "digest")
    found = opened(file).find(LAB, 7)
    assert found is not None
    assert (found.order, found.sealed) == ("digest", b"")
    first.finish(LAB, 7, b"answer")
    found = opened(file).find(LAB, 7)
    assert found is not None
    assert found.sealed == b"answer"
    assert opened(file).of(LAB).highest == 7
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_old_answer_goes_but_its_number_still_counts(file: Path) -> None:
    made = opened(file)
    for number in range(1, MOST_KEPT + 2):
        made.accept(LAB, number, "digest")
    assert made.find(LAB, 1) is None
    assert made.find(LAB, 2) is not None
    assert opened(file).of(LAB).highest == MOST_KEPT + 1


def test_each_lab_is_remembered_after_another(file: Path) -> None:
    opened(file).accept(LAB, 9, "digest")
    other = opened(file, "other")
    assert other.of("other").highest == 0
    assert opened(file).of(LAB).highest == 9


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"labs": {"lab": 3}}', '{"labs": []}'])
def test_a_damaged_file_is_set_aside_and_what_was_before_counts_as_forgotten(
    file: Path, damage: str
) -> None:
    opened(file).accept(LAB, 9, "digest")
    file.write_text(damage)
    before = int(time.time() * 1000)
    made = opened(file)
    assert made.of(LAB).highest == 0
    assert made.of(LAB).since >= before
    assert len(list(file.parent.glob("*.damaged-*"))) == 1


def test_what_cannot_be_written_is_not_accepted(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(file)

    def full(*_rest: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(memory, "write_atomically", full)
    with pytest.raises(OSError, match="full"):
        made.accept(LAB, 7, "digest")
    assert made.find(LAB, 7) is None
    assert made.of(LAB).highest == 0


def test_an_answer_that_cannot_be_written_is_kept_meanwhile(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(file)
    made.accept(LAB, 7, "digest")

    def full(*_rest: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(memory, "write_atomically", full)
    with pytest.raises(OSError, match="full"):
        made.finish(LAB, 7, b"answer")
    found = made.find(LAB, 7)
    assert found is not None
    assert found.sealed == b"answer"


def test_beginning_again_changes_nothing(file: Path) -> None:
    made = opened(file)
    since, written = made.of(LAB).since, file.read_bytes()
    made.begin(LAB)
    assert opened(file).of(LAB).since == since
    assert file.read_bytes() == written
    assert set(json.loads(written)["labs"]) == {LAB}


def test_a_clock_that_was_ahead_when_it_was_paired_does_not_keep_the_lab_out(file: Path) -> None:
    opened(file).accept(LAB, 7, "digest")
    content = json.loads(file.read_bytes())
    content["labs"][LAB]["since"] += 10**12
    file.write_text(json.dumps(content))
    made = opened(file)
    assert made.of(LAB).since <= int(time.time() * 1000)
    assert made.of(LAB).highest == 7
