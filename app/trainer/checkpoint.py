"""Checkpoints on this machine: written atomically, read without running pickled code."""

import hashlib
import json
import logging
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.protocol import CheckpointSaved, Report
from app.spec.schema import SwarmSpec
from app.trainer.data.batches import Batches
from app.trainer.strategies.protocols import SwarmMember

log = logging.getLogger(__name__)

KEPT = 2
"""How many checkpoints of a run stay: one more than needed, in case the newest is damaged."""

_UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, TypeError, AttributeError)
"""What torch raises for a damaged file, and this module for a file of another layout."""

MOST_TIME_SAVING = 0.02
"""The largest share of the time that is spent on writing checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that resuming needs."""

    epoch: int
    """Target batches that the model has seen."""

    position: int
    """Samples drawn from the data so far."""

    model: dict[str, torch.Tensor]
    """The model's `state_dict`: its weights by name."""

    optimizer: dict[str, Any]
    """The `state_dict` of the strategy."""


class CheckpointFolder:
    """The checkpoints of one run. Those of another model under the same run id are ignored."""

    def __init__(self, folder: Path, spec: SwarmSpec) -> None:
        self._folder = folder
        self._model = _fingerprint(spec)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete all but the newest `KEPT`. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"epoch-{checkpoint.epoch:09d}.pt"
        temporary = self._folder / "new.tmp"  # always the same name: a killed save leaves one file
        with temporary.open("wb") as stream:
            torch.save({"model_fingerprint": self._model} | vars(checkpoint), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        for old in self._newest_first()[KEPT:]:
            old.unlink()

    def load_newest(self) -> Checkpoint | None:
        """Read the newest readable checkpoint of this model; None when there is none."""
        for path in self._newest_first():
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
                found = content.pop("model_fingerprint", None)
                checkpoint = Checkpoint(**content)
            except _UNREADABLE as error:
                log.warning("checkpoint %s can't be read and is passed over: %s", path, error)
                continue
            if found != self._model:
                log.warning("checkpoint %s is of another model and is passed over", path)
                continue
            return checkpoint
        return None

    def _newest_first(self) -> list[Path]:
        found = self._folder.glob("epoch-*.pt")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _fingerprint(spec: SwarmSpec) -> str:
    """A hash of all that decides which tensors a checkpoint has, and what they mean."""
    parts = {
        "model": spec.model.model_dump(mode="json"),
        "tokenizer": spec.data.tokenizer.model_dump(mode="json"),
        "optimizer": spec.training.optimizer.name,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Keeper:
    """Writes a checkpoint when enough time has passed and the model has changed."""

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        model: torch.nn.Module,
        strategy: SwarmMember,
        batches: Batches,
        send: Callable[[Report], None],
        interval: float,
    ) -> None:
        """interval: the shortest time between two checkpoints in seconds, 0 to write every epoch.

        send: called with `CheckpointSaved`.
        """
        self._folder = folder
        self._model = model
        self._strategy = strategy
        self._batches = batches
        self._send = send
        self._interval = interval
        self._due_at = 0.0  # the first epoch is written at once
        self._saved_epoch = strategy.epoch

    def keep(self, *, now: bool = False) -> None:
        """Write a checkpoint if one is due. now: due as soon as the model has changed."""
        due = now or time.monotonic() >= self._due_at
        if not due or self._strategy.epoch == self._saved_epoch:
            return
        started = time.monotonic()
        self._folder.save(
            Checkpoint(
                epoch=self._strategy.epoch,
                position=self._batches.position,
                model=self._model.state_dict(),
                optimizer=self._strategy.state_dict(),
            )
        )
        seconds = time.monotonic() - started
        self._saved_epoch = self._strategy.epoch
        # Training waits for the write, which takes seconds for a large model.
        pause = max(self._interval, seconds / MOST_TIME_SAVING) if self._interval else 0.0
        self._due_at = time.monotonic() + pause
        self._send(CheckpointSaved(epoch=self._saved_epoch, seconds=seconds))
