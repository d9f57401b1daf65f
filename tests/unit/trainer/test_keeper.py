"""What is written is good, and what is bad is undone."""

import errno
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from app.evaluation_messages import Evaluated
from app.protocol import CheckpointSaved, Report, TrainerWarning
from app.spec import schema as specs
from app.trainer.checkpoint import CheckpointFolder
from app.trainer.keeper import MOST_RETURNS, Keeper
from tests.support.processes.apps import tiny_spec


@dataclass
class Epochs:
    """What the keeper uses of a strategy and of the batches."""

    epoch: int = 0
    taken_over: int = 0
    position: int = 0
    undone: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}, "epoch": self.epoch}

    def swarm_weights(self) -> AbstractContextManager[None]:
        return nullcontext()

    def undo(self, _state: dict[str, Any], restore_model: Callable[[], object]) -> None:
        self.undone += 1
        restore_model()


@dataclass
class Kept:
    """A keeper whose model's loss is its only weight."""

    folder: CheckpointFolder
    epochs: Epochs = field(default_factory=Epochs)
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = torch.nn.Linear(1, 1, bias=False)
        strategy: Any = self.epochs
        self.keeper = Keeper(
            self.folder,
            model=self.model,
            strategy=strategy,
            batches=strategy,
            judge=lambda: self.loss,
            send=self.reports.append,
            interval=0.0,
        )

    @property
    def loss(self) -> float:
        return float(self.model.weight.detach())

    def epoch(self, loss: float) -> None:
        """An epoch ends with such a loss."""
        self.epochs.epoch += 1
        torch.nn.init.constant_(self.model.weight, loss)
        self.keeper.keep()

    @property
    def saved(self) -> list[int]:
        return [each.epoch for each in self.reports if isinstance(each, CheckpointSaved)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(CheckpointFolder(tmp_path, specs.parse(tiny_spec())))


def test_every_epoch_that_is_no_worse_is_written(kept: Kept) -> None:
    for loss in (5.0, 4.0, 4.3):
        kept.epoch(loss)
    kept.keeper.keep()
    assert kept.saved == [1, 2, 3]
    assert kept.epochs.undone == 0


@pytest.mark.parametrize("loss", [9.0, math.nan, math.inf])
def test_what_is_worse_is_undone_and_not_written(kept: Kept, loss: float) -> None:
    kept.epoch(4.0)
    kept.epoch(loss)
    assert kept.saved == [1]
    assert (kept.epochs.undone, kept.loss, kept.epochs.epoch) == (1, 4.0, 2)
    newest = kept.folder.load_newest()
    assert newest is not None
    assert float(newest.model["weight"]) == 4.0


def test_while_no_checkpoint_can_be_read_what_is_worse_is_not_written(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.epoch(4.0)

    def unreadable(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(torch, "load", unreadable)
        kept.epoch(9.0)
    assert (kept.saved, kept.epochs.undone) == ([1], 0)
    kept.epoch(9.0)
    assert (kept.saved, kept.epochs.undone, kept.loss) == ([1], 1, 4.0)


def test_loss_that_rises_each_time_is_not_for_what_others_sent(kept: Kept) -> None:
    kept.epoch(4.0)
    for _ in range(MOST_RETURNS + 1):
        kept.epoch(9.0)
    assert kept.epochs.undone == MOST_RETURNS
    assert kept.loss == 9.0
    kept.epoch(9.5)
    assert kept.saved[-1] == kept.epochs.epoch


def test_what_was_better_is_not_lost_when_all_stays_worse(kept: Kept) -> None:
    kept.epoch(4.0)
    for _ in range(MOST_RETURNS + 1):
        kept.epoch(9.0)
    for loss in (9.1, 9.2, 9.3):
        kept.epoch(loss)
    (aside,) = kept.folder.path.glob("before-*")
    assert aside.name.split("-")[2] == "000000001"


def test_a_model_that_computes_no_numbers_is_brought_back(kept: Kept) -> None:
    assert not kept.keeper.rescue()
    kept.epoch(4.0)
    for _ in range(MOST_RETURNS):
        torch.nn.init.constant_(kept.model.weight, math.nan)
        assert kept.keeper.rescue()
        assert kept.loss == 4.0
    assert not kept.keeper.rescue()
    warnings = {each.message for each in kept.reports if isinstance(each, TrainerWarning)}
    assert warnings == {
        "The model computed no numbers any more, so training went back to that of epoch 1."
    }


def test_without_a_checkpoint_nothing_is_undone(kept: Kept) -> None:
    kept.epoch(math.nan)
    assert (kept.epochs.undone, kept.saved) == (0, [])


def test_own_checkpoint_is_set_aside_before_a_foreign_state_is_written(kept: Kept) -> None:
    kept.epoch(4.0)
    kept.epochs.taken_over = 1
    for loss in (3.0, 2.9, 2.8, 2.7):
        kept.epoch(loss)
    aside = list(kept.folder.path.glob("before-*"))
    assert [path.name.split("-")[2] for path in aside] == ["000000001"]


def test_full_disk_costs_a_checkpoint_and_no_training(kept: Kept) -> None:
    kept.epoch(5.0)
    full = kept.folder.path / "new.tmp"
    full.symlink_to("/dev/full")
    kept.epoch(4.0)
    (warning,) = [each for each in kept.reports if isinstance(each, TrainerWarning)]
    assert (warning.topic, warning.message) == (
        "checkpoint",
        "No checkpoint can be written: No space left on device.",
    )
    assert str(kept.folder.path) in warning.remedy
    assert not full.is_symlink()  # room for others
    kept.epoch(3.0)
    assert kept.saved == [1, 3]
    assert kept.reports[-1] == TrainerWarning(topic="checkpoint", message="")


def test_what_went_wrong_is_told_until_a_checkpoint_is_written(kept: Kept) -> None:
    kept.epoch(3.0)
    kept.epoch(9.0)
    assert isinstance(told := kept.reports[-1], TrainerWarning)
    assert told.message.startswith("The model got worse (loss 3.00 to 9.00), so training went back")
    kept.epoch(2.5)
    assert kept.reports[-1] == TrainerWarning(topic="undone", message="")


def test_an_evaluation_is_kept_beside_the_checkpoints(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Evaluated(epoch=1, loss=2.0, bits_per_byte=2.9, tokens=64, seconds=0.5, time=1.0)
    kept.keeper.note_evaluation(made)
    kept.epoch(4.0)
    assert kept.folder.evaluation() == made

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckpointFolder, "note_evaluation", full)
    kept.keeper.note_evaluation(made)  # training goes on
