"""The numbers of commands only grow."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.common.errors import LabError
from app.lab.numbers import CommandNumbers


def test_they_grow_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "n.json"
    first = CommandNumbers(file).take(3)
    second = CommandNumbers(file).take(2)
    assert (len(first), len(second)) == (3, 2)
    assert first[-1] < second[0]
    assert file.stat().st_mode & 0o777 == 0o600


def test_nobody_gets_a_number_twice(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = pool.map(lambda _: CommandNumbers(tmp_path / "n.json").take(5), range(20))
    numbers = [number for some in taken for number in some]
    assert len(set(numbers)) == 100


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"last": "9"}', '{"last": 1e300}', "x" * 5000])
def test_a_lost_file_starts_above_what_machines_know(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "n.json"
    before = CommandNumbers(file).take(1)
    file.write_text(damage)
    time.sleep(0.002)  # the numbers are milliseconds
    assert CommandNumbers(file).take(1)[0] > before[0]


def test_a_clock_that_goes_back_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "n.json"
    ahead = int((time.time() + 3600) * 1000)
    file.write_text(json.dumps({"last": ahead}))
    assert CommandNumbers(file).take(1)[0] == ahead + 1


def test_what_cannot_be_noted_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError):
        CommandNumbers(tmp_path / "file" / "n.json").take(1)
