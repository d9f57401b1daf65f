"""Mains power, programs and the disk."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from app.sensors import machine


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


def test_programs_are_known_by_their_names() -> None:
    mine = psutil.Process().name()
    wanted = [f"{mine.upper()}.exe", "surely-not-running"]
    assert machine.running(wanted) == {wanted[0]}


def test_files_take_blocks(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    empty = machine.size_of(tmp_path)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert 100_000 <= machine.size_of(tmp_path, tmp_path / "missing") - empty < 150_000
