"""Mains power, running programs and disk usage."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from app.terms.sensors import machine


@pytest.mark.parametrize(
    ("battery", "on_mains"),
    [
        (None, True),
        (SimpleNamespace(power_plugged=True), True),
        (SimpleNamespace(power_plugged=False), False),
        (SimpleNamespace(power_plugged=None), None),
    ],
)
def test_without_a_battery_it_is_on_mains(
    battery: object, on_mains: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery)
    assert machine.is_on_mains() is on_mains


def test_programs_are_found_by_name() -> None:
    mine = psutil.Process().name()
    wanted = [f"{mine.upper()}.exe", "surely-not-running"]
    programs = machine.Programs()
    assert programs.among(wanted) == {wanted[0]}
    assert programs.among(wanted) == {wanted[0]}


def test_ended_program_isnt_found(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, mine = machine.Programs(), psutil.Process()
    assert programs.among([mine.name()])
    monkeypatch.setattr(psutil, "pids", lambda: [2**22])  # no process has this id
    assert not programs.among([mine.name()])


def test_name_is_read_again_while_a_process_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, names = machine.Programs(), {1: "init", 2: "sh"}
    monkeypatch.setattr(machine, "_name_of", names.get)
    for pids in ([1], [1, 2]):
        monkeypatch.setattr(psutil, "pids", lambda pids=pids: pids)
        assert programs.among(["quake"]) == frozenset()
    names.update({1: "never read again", 2: "quake"})
    assert programs.among(["Quake.exe", "init"]) == {"Quake.exe", "init"}


def test_size_is_counted_in_disk_blocks(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    empty = machine.size_of(tmp_path)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert 100_000 <= machine.size_of(tmp_path, tmp_path / "missing") - empty < 150_000
