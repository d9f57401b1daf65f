"""Checkpoints: what was written is read again, and nothing else is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.spec import schema as specs
from app.trainer.checkpoint import KEPT, Checkpoint, CheckpointFolder
from tests.support.processes.apps import tiny_spec, training


def folder_of(path: Path, **changes: Any) -> CheckpointFolder:
    return CheckpointFolder(path, specs.parse(tiny_spec(**changes)))


def checkpoint(epoch: int) -> Checkpoint:
    weights = {"weight": torch.full((2, 3), float(epoch))}
    return Checkpoint(epoch=epoch, position=10 * epoch, model=weights, optimizer={"state": {}})


def test_the_newest_is_read_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for epoch in range(1, KEPT + 3):
        folder.save(checkpoint(epoch))
    newest = folder.load_newest()
    assert newest is not None
    assert (newest.epoch, newest.position) == (KEPT + 2, 10 * (KEPT + 2))
    assert torch.equal(newest.model["weight"], torch.full((2, 3), float(KEPT + 2)))
    assert len(list(tmp_path.glob("*.*"))) == KEPT


def test_nothing_is_read_from_nothing(tmp_path: Path) -> None:
    assert folder_of(tmp_path / "none").load_newest() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_config": tiny_spec()["model_config"] | {"n_layer": 2}},
        {"training_params": training(optimizer={"name": "sgd", "learning_rate": 0.1})},
        {"dataset_info": {"source": "builtin", "tokenizer": {"kind": "file", "path": "/t.json"}}},
    ],
)
def test_one_whose_tensors_mean_something_else_is_passed_over(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder_of(tmp_path).save(checkpoint(1))
    assert folder_of(tmp_path, **changes).load_newest() is None


def test_other_settings_of_the_same_tensors_go_on(tmp_path: Path) -> None:
    folder_of(tmp_path).save(checkpoint(1))
    later = folder_of(tmp_path, training_params=training(target_batch_size=1024))
    assert later.load_newest() is not None


@pytest.mark.parametrize("content", [{"epoch": 1}, [1, 2], {"other": torch.zeros(1)}])
def test_one_of_another_layout_is_passed_over(tmp_path: Path, content: Any) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    torch.save(content, tmp_path / "epoch-000000002.pt")
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1
