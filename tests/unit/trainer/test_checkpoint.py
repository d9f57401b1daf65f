"""Checkpoints: what was written is read again, and nothing else is."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.spec import schema as specs
from app.trainer.checkpoint import (
    KEPT,
    Checkpoint,
    CheckpointFolder,
    DamagedCheckpointError,
    NotFiniteError,
)
from tests.support.processes.apps import tiny_spec, training


def folder_of(path: Path, **changes: Any) -> CheckpointFolder:
    return CheckpointFolder(path, specs.parse(tiny_spec(**changes)))


def with_two(path: Path) -> CheckpointFolder:
    """A folder with checkpoints of the epochs 1 and 2."""
    folder = folder_of(path)
    for epoch in (1, 2):
        folder.save(checkpoint(epoch))
    return folder


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
    assert len(list(tmp_path.glob("*.pt"))) == KEPT


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


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"))


def test_the_newest_is_that_of_the_highest_epoch(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(9))
    folder.save(checkpoint(8))
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 9


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_one_is_set_aside_and_the_next_older_read(tmp_path: Path, damage: str) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    path = files(tmp_path)[-1]
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((6,), 2.0).numpy().tobytes())] ^= 1
    kept = {"flipped": len(content), "cut": len(content) // 2, "empty": 0}[damage]
    path.write_bytes(content[:kept])
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1
    assert path.with_suffix(".damaged").exists()
    assert files(tmp_path) == [each for each in files(tmp_path) if each != path]


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"


def failing(times: int, error: Exception) -> Callable[..., Any]:
    """`torch.load` as it is when the machine is short of something, so many times."""
    load, left = torch.load, iter(range(times))

    def loads(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return load(*arguments, **options)

    return loads


def test_short_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = with_two(tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(torch, "load", failing(1, RuntimeError(NO_MEMORY)))
    with pytest.raises(RuntimeError, match="allocate memory"):
        folder.load_newest()
    assert set(tmp_path.iterdir()) == before
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 2


def test_one_that_cannot_be_read_now_is_passed_over_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_two(tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(torch, "load", failing(1, OSError(errno.EIO, "Input/output error")))
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1
    assert set(tmp_path.iterdir()) == before


def test_none_that_can_be_read_now_is_not_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_two(tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(torch, "load", failing(2, OSError(errno.EMFILE, "Too many open files")))
    with pytest.raises(OSError, match=r"Too many open files: .*epoch-000000001"):
        folder.load_newest()
    assert set(tmp_path.iterdir()) == before


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    with pytest.raises(NotFiniteError):
        folder.save(replace(checkpoint(2), model={"weight": torch.tensor([torch.nan])}))
    moments = {"state": {0: {"exp_avg": torch.tensor([torch.inf])}}}
    with pytest.raises(NotFiniteError):
        folder.save(replace(checkpoint(3), optimizer=moments))
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1


def test_poisoned_one_of_an_earlier_app_is_passed_over(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    (sound,) = files(tmp_path)
    content = torch.load(sound, weights_only=True)
    content["epoch"], content["model"]["weight"][0, 0] = 2, torch.nan
    torch.save(content, tmp_path / "epoch-000000002.pt")
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1


def test_another_swarm_under_the_same_run_id_neither_reads_nor_deletes(tmp_path: Path) -> None:
    folder_of(tmp_path).save(checkpoint(1))
    hub = {"source": "hub", "name": "else/where", "tokenizer": {"kind": "bytes"}}
    foreign = folder_of(tmp_path, dataset_info=hub)
    assert foreign.load_newest() is None
    for epoch in range(2, KEPT + 4):
        foreign.save(checkpoint(epoch))
    newest = folder_of(tmp_path).load_newest()
    assert newest is not None
    assert newest.epoch == 1


def test_what_was_set_aside_is_kept_and_read_last(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    folder.set_aside()
    for epoch in range(2, KEPT + 4):
        folder.save(checkpoint(epoch))
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == KEPT + 3
    for path in files(tmp_path):
        path.write_bytes(b"")
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1


@pytest.mark.parametrize("content", [{"epoch": 1}, [1, 2], {"other": torch.zeros(1)}])
def test_one_of_another_layout_is_passed_over(tmp_path: Path, content: Any) -> None:
    folder = folder_of(tmp_path)
    folder.save(checkpoint(1))
    torch.save(content, tmp_path / "epoch-000000002.pt")
    newest = folder.load_newest()
    assert newest is not None
    assert newest.epoch == 1


def test_looking_into_one_beside_the_trainer_changes_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "kept")
    for epoch in (1, 2):
        folder.save(checkpoint(epoch))
    (tmp_path / "kept" / "epoch-000000003.pt").write_bytes(b"damaged")
    before = set((tmp_path / "kept").iterdir())
    damaged, newest, _older = folder.kept()
    with pytest.raises(DamagedCheckpointError):
        folder.look_into(damaged)
    found = folder.look_into(newest)
    assert found is not None
    assert torch.equal(found.model["weight"], checkpoint(2).model["weight"])
    assert set((tmp_path / "kept").iterdir()) == before
    newest.unlink()
    with pytest.raises(FileNotFoundError):
        folder.look_into(newest)
