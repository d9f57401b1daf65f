"""Whether a folder is an export of ours, and nothing but that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.takeout.marker import MARKER, files_of, write_marker


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# A model\n")
    return folder


def test_its_files_are_known(exported: Path) -> None:
    size = write_marker(exported, run_id="run", epoch=3)
    files = files_of(exported)
    assert files is not None
    assert {path.name for path in files} == {MARKER, "config.json", "README.md"}
    assert size == sum(path.stat().st_size for path in exported.iterdir())


CHANGES: dict[str, Callable[[Path], object]] = {
    "another file": lambda folder: (folder / "diary.txt").write_text("mine"),
    "a folder": lambda folder: (folder / ".git").mkdir(),
    "an edited card": lambda folder: (folder / "README.md").write_text("# My model, at last\n"),
    "a lost file": lambda folder: (folder / "config.json").unlink(),
    "no marker": lambda folder: (folder / MARKER).unlink(),
    "a damaged marker": lambda folder: (folder / MARKER).write_text("{"),
    "another marker": lambda folder: (folder / MARKER).write_text("[]"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_not_ours_alone(exported: Path, change: str) -> None:
    write_marker(exported, run_id="run", epoch=3)
    CHANGES[change](exported)
    assert files_of(exported) is None


def test_what_is_no_folder_is_none(tmp_path: Path) -> None:
    assert files_of(tmp_path / "none") is None
