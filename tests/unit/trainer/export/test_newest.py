"""Which checkpoint is taken out, while a trainer writes others and some are damaged."""

import os
from pathlib import Path

import pytest
import torch

from app.common.errors import ExportError
from app.common.paths import WATCHED
from app.evaluation_messages import Evaluated
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from app.trainer.export.newest import evaluation_of, newest_of
from tests.support.training.models import spec_of

SPEC = spec_of()


def keep(folder: Path, epoch: int, *, weight: float = 1.0) -> Path:
    weights = {"weight": torch.full((2, 3), weight)}
    optimizer = {"state": {0: torch.full((2, 3), weight)}}
    kept = CheckpointFolder(folder, SPEC)
    kept.save(Checkpoint(epoch=epoch, position=0, model=weights, optimizer=optimizer))
    return kept.kept()[0]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_it_is_the_newest_of_all_trainers(tmp_path: Path) -> None:
    keep(tmp_path / "trainer", 3)
    keep(tmp_path / "trainer-1", 4, weight=5.0)
    found = newest_of((tmp_path / "trainer", tmp_path / "trainer-1"), SPEC)
    assert (found.checkpoint.epoch, found.passed_over, found.was_fetched) == (4, (), False)
    assert torch.equal(found.checkpoint.model["weight"], torch.full((2, 3), 5.0))


def test_what_was_fetched_is_not_called_our_own(tmp_path: Path) -> None:
    keep(tmp_path / "trainer", 3)
    keep(tmp_path / WATCHED, 4)
    found = newest_of((tmp_path / "trainer", tmp_path / WATCHED), SPEC)
    assert (found.checkpoint.epoch, found.was_fetched) == (4, True)


def test_what_was_fetched_is_outdated_once_this_machine_trains_on(tmp_path: Path) -> None:
    fetched = keep(tmp_path / WATCHED, 900, weight=7.0)  # an epoch that somebody has said
    own = keep(tmp_path / "trainer", 4, weight=5.0)
    folders = (tmp_path / WATCHED, tmp_path / "trainer")
    os.utime(fetched, (1e9, 1e9))
    os.utime(own, (2e9, 2e9))
    assert newest_of(folders, SPEC).checkpoint.epoch == 4
    os.utime(fetched, (3e9, 3e9))
    assert newest_of(folders, SPEC).checkpoint.epoch == 900


def test_a_damaged_one_is_passed_over_named_and_left_where_it_is(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    newest = keep(tmp_path, 4)
    damage(newest)
    found = newest_of((tmp_path,), SPEC)
    assert (found.checkpoint.epoch, found.passed_over) == (3, (newest.name,))
    assert newest.exists()


def test_one_that_was_set_aside_is_the_last_choice(tmp_path: Path) -> None:
    keep(tmp_path, 9)
    CheckpointFolder(tmp_path, SPEC).set_aside()
    newest = keep(tmp_path, 4)
    assert newest_of((tmp_path,), SPEC).checkpoint.epoch == 4
    damage(newest)
    assert newest_of((tmp_path,), SPEC).checkpoint.epoch == 9


def test_all_damaged_is_said(tmp_path: Path) -> None:
    damage(keep(tmp_path, 3))
    with pytest.raises(ExportError, match=r"all checkpoints .* are damaged: epoch-000000003"):
        newest_of((tmp_path,), SPEC)


def test_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no checkpoint of this model"):
        newest_of((tmp_path / "none",), SPEC)
    keep(tmp_path, 3)
    with pytest.raises(ExportError, match="no checkpoint of this model"):
        newest_of((tmp_path,), spec_of(n_embd=64))


def test_one_that_the_trainer_deletes_meanwhile_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, 3)
    real = CheckpointFolder.look_into

    def late(folder: CheckpointFolder, path: Path) -> Checkpoint | None:
        if "000000003" in path.name:  # the trainer writes two more, and deletes this one
            keep(tmp_path, 4)
            keep(tmp_path, 5)
        return real(folder, path)

    monkeypatch.setattr(CheckpointFolder, "look_into", late)
    assert newest_of((tmp_path,), SPEC).checkpoint.epoch == 5


def test_one_that_is_deleted_once_it_is_read_stays_readable(tmp_path: Path) -> None:
    path = keep(tmp_path, 3, weight=2.0)
    found = newest_of((tmp_path,), SPEC)
    path.unlink()
    assert torch.equal(found.checkpoint.model["weight"], torch.full((2, 3), 2.0))


def test_the_evaluation_is_the_last_one_of_all_trainers(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("trainer", "trainer-1", "trainer-2")]
    assert evaluation_of(folders, SPEC) is None
    made = [
        Evaluated(epoch=9, loss=2.0, bits_per_byte=2.9, tokens=64, seconds=0.5, time=moment)
        for moment in (20.0, 10.0)
    ]
    for folder, evaluation in zip(folders, made, strict=False):
        CheckpointFolder(folder, SPEC).note_evaluation(evaluation)
    assert evaluation_of(folders, SPEC) == made[0]
