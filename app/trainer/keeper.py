"""Keeps a run's progress: writes checkpoints, and goes back to the last one when all got worse.

Others' gradients and averages are held against bounds, but a lie within the bounds can make the
model worse, and so can a learning rate that is too high. So the model is judged, on the same batch
each time, before it is written: what is written is good, and what is bad is undone.
"""

import logging
import math
import time
from collections.abc import Callable

import torch

from app.common.i18n import _
from app.evaluation_messages import Evaluated
from app.protocol import CheckpointSaved, Report, TrainerWarning, WarningTopic
from app.trainer.checkpoint import Checkpoint, CheckpointFolder, NotFiniteError
from app.trainer.data.batches import Batches
from app.trainer.model.adapters import load_state, state_of
from app.trainer.strategies.protocols import SwarmMember

log = logging.getLogger(__name__)

MOST_TIME_SAVING = 0.02
"""The largest share of the time that is spent on judging the model and writing checkpoints."""

WORSE = 1.2
"""The model got worse when its loss is this many times that of the last checkpoint, and `MORE`."""

MORE = 0.2
"""Nats per token."""

MOST_RETURNS = 3
"""In a row. If all gets worse again each time, it isn't for what others sent."""


class Keeper:
    """Writes a checkpoint when enough time has passed and the model has changed."""

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        model: torch.nn.Module,
        strategy: SwarmMember,
        batches: Batches,
        judge: Callable[[], float],
        send: Callable[[Report], None],
        interval: float,
    ) -> None:
        """interval: the shortest time between two checkpoints in seconds, 0 to write every epoch.

        judge: the loss of the model as it is, on a batch that is the same each time.
        send: called with `CheckpointSaved`, and with a `TrainerWarning` where there is none.
        """
        self._folder = folder
        self._model = model
        self._strategy = strategy
        self._batches = batches
        self._judge = judge
        self._send = send
        self._interval = interval
        self._due_at = 0.0  # the first epoch is written at once
        self._saved_epoch = strategy.epoch
        self._taken_over = 0  # the state may have been taken over before us
        self._good_loss = math.inf
        self._returns = 0
        self._has_set_aside = False
        self._warnings: set[WarningTopic] = set()

    def keep(self, *, now: bool = False) -> None:
        """Write a checkpoint if one is due. now: due as soon as the model has changed."""
        due = now or time.monotonic() >= self._due_at
        if not due or self._strategy.epoch == self._saved_epoch:
            return
        started = time.monotonic()
        self._saved_epoch = self._strategy.epoch
        with self._strategy.swarm_weights():
            loss = self._judge()
            is_worse = self._is_worse(loss)
            try:
                good = self._better_one() if is_worse else None
            except OSError as error:  # what is worse isn't written: the next epoch tries again
                log.warning("no checkpoint can be read to go back to: %s", error)
                return
            if good is None:
                if is_worse and not self._has_set_aside:  # the better one isn't lost by it
                    self._folder.set_aside()
                    self._has_set_aside = True
                self._write(loss, started)
        if good is not None:
            self._go_back(good, loss)
        # Training waits for all this, which takes seconds for a large model.
        seconds = time.monotonic() - started
        pause = max(self._interval, seconds / MOST_TIME_SAVING) if self._interval else 0.0
        self._due_at = time.monotonic() + pause

    def note_evaluation(self, evaluation: Evaluated) -> None:
        """Keep an evaluation beside the checkpoints, for the card of a model that is taken out."""
        try:
            self._folder.note_evaluation(evaluation)
        except OSError as error:  # the next checkpoint says it to the user
            log.warning("no evaluation can be written: %s", error)

    def rescue(self) -> bool:
        """Go back to the last checkpoint, since the model computes no numbers any more; False where
        there is none, or where that didn't help before."""
        try:
            good = self._better_one()
        except OSError as error:
            log.warning("no checkpoint can be read to go back to: %s", error)
            return False
        if good is not None:
            self._go_back(good, math.nan)
        return good is not None

    def _write(self, loss: float, started: float) -> None:
        if self._strategy.taken_over != self._taken_over:
            self._taken_over = self._strategy.taken_over
            self._folder.set_aside()
        checkpoint = Checkpoint(
            epoch=self._saved_epoch,
            position=self._batches.position,
            model=state_of(self._model),
            optimizer=self._strategy.state_dict(),
        )
        try:
            self._folder.save(checkpoint)
        except NotFiniteError as error:
            log.warning("no checkpoint is written in epoch %d: %s", checkpoint.epoch, error)
            return
        except OSError as error:
            self._say_that_it_failed(error)
            return
        self._good_loss, self._returns = loss, 0
        seconds = time.monotonic() - started
        self._send(CheckpointSaved(epoch=self._saved_epoch, seconds=seconds))
        for topic in self._warnings:
            self._send(TrainerWarning(topic=topic, message=""))
        self._warnings.clear()

    def _say_that_it_failed(self, error: OSError) -> None:
        log.warning("no checkpoint can be written: %s", error)
        self._warnings.add("checkpoint")
        self._send(
            TrainerWarning(
                topic="checkpoint",
                message=_("No checkpoint can be written: {reason}.").format(
                    reason=error.strerror or error
                ),
                remedy=_("Make room on the disk of {folder}; training goes on meanwhile.").format(
                    folder=self._folder.path
                ),
            )
        )

    def _is_worse(self, loss: float) -> bool:
        return not loss <= WORSE * self._good_loss + MORE  # True for NaN

    def _better_one(self) -> Checkpoint | None:
        """The last checkpoint; None when there is none, or when that didn't help before."""
        return self._folder.load_newest() if self._returns < MOST_RETURNS else None

    def _go_back(self, good: Checkpoint, loss: float) -> None:
        """Restore a checkpoint, but stay in the swarm's epoch. loss: that of the model now."""
        self._returns += 1
        log.warning(
            "the loss rose from %.2f to %.2f since epoch %d: back to the model of that epoch",
            self._good_loss,
            loss,
            good.epoch,
        )
        self._warnings.add("undone")
        self._send(
            TrainerWarning(
                topic="undone",
                message=self._what_happened(good.epoch, loss),
                remedy=_("Someone may have sent harmful data, or the learning rate is too high."),
            )
        )
        self._strategy.undo(good.optimizer, lambda: load_state(self._model, good.model))

    def _what_happened(self, epoch: int, loss: float) -> str:
        if not math.isfinite(loss):
            said = _(
                "The model computed no numbers any more, so training went back to that of epoch"
                " {epoch}."
            )
            return said.format(epoch=epoch)
        said = _(
            "The model got worse (loss {before} to {after}), so training went back to that"
            " of epoch {epoch}."
        )
        return said.format(before=f"{self._good_loss:.2f}", after=f"{loss:.2f}", epoch=epoch)
