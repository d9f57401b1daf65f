"""Checkpoints on this machine: written atomically, read without unpickling code."""

import hashlib
import json
import logging
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from app.protocol import CheckpointSaved, Report
from app.spec.schema import SwarmSpec

log = logging.getLogger(__name__)

KEPT = 2
"""The newest checkpoints that stay: one more than needed, in case the newest is damaged."""

_UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, TypeError, AttributeError)
"""What torch raises for a damaged file, and we for one of another layout."""

MOST_TIME_SAVING = 0.02
"""Share of the time that may go into checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that resuming needs. position: samples that were drawn from the data so far."""

    epoch: int
    position: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run. Those of another model under the same run id are passed over."""

    def __init__(self, folder: Path, spec: SwarmSpec) -> None:
        self._folder = folder
        self._model = _fingerprint(spec)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, then forget all but the newest `KEPT`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"epoch-{checkpoint.epoch:09d}.pt"
        temporary = self._folder / "new.tmp"  # one name: a killed save leaves one file at most
        with temporary.open("wb") as stream:
            torch.save({"model_fingerprint": self._model} | vars(checkpoint), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        for old in self._newest_first()[KEPT:]:
            old.unlink()

    def load_newest(self) -> Checkpoint | None:
        """The newest that can be read and is of this model; None when there is none."""
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
    """Of all that decides which tensors there are, and what they mean."""
    parts = {
        "model": spec.model.model_dump(mode="json"),
        "tokenizer": spec.data.tokenizer.model_dump(mode="json"),
        "optimizer": spec.training.optimizer.name,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Restorable(Protocol):
    """What a checkpoint keeps of a strategy."""

    @property
    def epoch(self) -> int:
        """Target batches that the model has seen."""

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state."""


class Positioned(Protocol):
    """What a checkpoint keeps of the data."""

    @property
    def position(self) -> int:
        """Samples drawn so far."""


class Keeper:
    """Writes a checkpoint when one is due: enough time has passed, and the model has changed."""

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        model: torch.nn.Module,
        strategy: Restorable,
        batches: Positioned,
        send: Callable[[Report], None],
        interval: float,
    ) -> None:
        self._folder = folder
        self._model = model
        self._strategy = strategy
        self._batches = batches
        self._send = send
        self._interval = interval
        self._due_at = 0.0  # the first epoch is kept at once
        self._saved_epoch = strategy.epoch

    def keep(self, *, now: bool = False) -> None:
        """Write a checkpoint if one is due, or if ``now`` is said and the model has changed."""
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
        # A large model takes seconds to write, and training waits for it.
        pause = max(self._interval, seconds / MOST_TIME_SAVING) if self._interval else 0.0
        self._due_at = time.monotonic() + pause
        self._send(CheckpointSaved(epoch=self._saved_epoch, seconds=seconds))
