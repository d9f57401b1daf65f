"""Where an export goes: it appears when it is whole, and what is others' stays."""

import os
from pathlib import Path

import pytest

from app.common.errors import BusyError, ExportError
from app.export.target import ExportTarget
from app.takeout.marker import write_marker


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def exported(folder: Path, *, overwrite: bool = False, epoch: int = 1) -> Path | None:
    """Write an export; returns what was set aside."""
    target = ExportTarget(folder, overwrite=overwrite)
    target.claim()
    try:
        (target.part / "config.json").write_text(f"epoch {epoch}")
        write_marker(target.part, run_id="run", epoch=epoch)
        return target.put_in_place()
    finally:
        target.discard()


def epoch_in(folder: Path) -> str:
    return (folder / "config.json").read_text()


def test_it_appears_when_it_is_complete(here: Path) -> None:
    place = here / "new" / "model"
    target = ExportTarget(place, overwrite=False)
    target.claim()
    (target.part / "config.json").write_text("half")
    assert not place.exists()
    target.discard()
    assert [*place.parent.iterdir()] == []
    assert exported(place) is None
    assert [*place.parent.iterdir()] == [place]


def test_an_earlier_export_is_replaced(here: Path) -> None:
    exported(here / "model", epoch=1)
    assert exported(here / "model", epoch=2) is None
    assert epoch_in(here / "model") == "epoch 2"
    assert [*here.iterdir()] == [here / "model"]


def test_an_empty_folder_is_filled(here: Path) -> None:
    (here / "model").mkdir()
    assert exported(here / "model") is None
    assert [*here.iterdir()] == [here / "model"]


def test_something_else_is_left_alone(here: Path) -> None:
    place = here / "model"
    place.mkdir()
    (place / "diary.txt").write_text("mine")
    with pytest.raises(ExportError, match="something else") as caught:
        exported(place)
    assert "--overwrite" in caught.value.remedy
    assert [*here.iterdir()] == [place]


def test_something_else_is_set_aside_if_that_is_allowed(here: Path) -> None:
    place = here / "model"
    place.mkdir()
    (place / "diary.txt").write_text("mine")
    aside = exported(place, overwrite=True)
    assert aside is not None
    assert (aside / "diary.txt").read_text() == "mine"
    assert epoch_in(place) == "epoch 1"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_deleted(here: Path, overwrite: bool) -> None:
    file = here / "model"
    file.write_text("mine")
    if not overwrite:
        with pytest.raises(ExportError):
            exported(file)
        assert file.read_text() == "mine"
        return
    aside = exported(file, overwrite=True)
    assert aside is not None
    assert aside.read_text() == "mine"


def test_two_exports_do_not_mix(here: Path) -> None:
    first, second = (ExportTarget(here / "model", overwrite=False) for _ in range(2))
    first.claim()
    with pytest.raises(BusyError):
        second.claim()
    second.discard()  # which leaves the first one's alone
    assert first.part.exists()
    first.discard()
    second.claim()
    second.discard()


def test_what_a_killed_export_left_is_cleared(here: Path) -> None:
    target = ExportTarget(here / "model", overwrite=False)
    (target.part / "folder").mkdir(parents=True)
    (target.part / "model.safetensors").write_text("half")
    exported(here / "model")
    assert {path.name for path in (here / "model").iterdir()} == {
        *("config.json", "cotrain-export.json")
    }


def test_a_link_in_its_place_is_not_followed(here: Path) -> None:
    mine = here / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("mine")
    target = ExportTarget(here / "model", overwrite=False)
    target.part.symlink_to(mine)
    with pytest.raises(ExportError):
        target.claim()
    assert (mine / "diary.txt").exists()


def test_a_link_to_a_folder_is_followed_to_it(here: Path) -> None:
    (here / "disk").mkdir()
    (here / "link").symlink_to(here / "disk")
    exported(here / "link" / "model")
    assert epoch_in(here / "disk" / "model") == "epoch 1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(here: Path) -> None:
    here.chmod(0o500)
    try:
        with pytest.raises(ExportError, match="can't be written"):
            exported(here / "model")
    finally:
        here.chmod(0o700)


def test_the_root_is_no_place(here: Path) -> None:
    with pytest.raises(ExportError):
        ExportTarget(Path("/"), overwrite=True).check()
