"""Find the checkpoint to take out, while a trainer may write the next one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.common.errors import ExportError
from app.common.i18n import _
from app.common.paths import WATCHED
from app.evaluation_messages import Evaluated
from app.spec.schema import SwarmSpec
from app.trainer.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedCheckpointError,
    kept_in_order,
)

log = logging.getLogger(__name__)

_MOST_LOOKS = 5
"""A trainer deletes old checkpoints as it writes new ones; so often we look again for them."""


@dataclass(frozen=True, kw_only=True)
class NewestCheckpoint:
    """What is taken out."""

    checkpoint: Checkpoint

    was_fetched: bool
    """From others; this machine has not trained it."""

    passed_over: tuple[str, ...]
    """The names of damaged ones."""


def newest_of(folders: Sequence[Path], spec: SwarmSpec) -> NewestCheckpoint:
    """The newest sound checkpoint of a run.

    folders: one for each trainer of this machine. Raises `ExportError` if there is none.
    """
    damaged: dict[str, None] = {}
    for _look in range(_MOST_LOOKS):
        try:
            if (found := _newest(folders, spec, damaged)) is not None:
                return found
            break
        except FileNotFoundError as error:
            log.info("%s was deleted meanwhile: looking again", error.filename)
    if damaged:
        message = _("all checkpoints of this run on this machine are damaged: {names}.").format(
            names=", ".join(damaged)
        )
    else:
        message = _("there is no checkpoint of this model.")
    raise ExportError(
        message,
        field=", ".join(map(str, folders)),
        remedy=_("Train until the next checkpoint, or take another run."),
    )


def _newest(
    folders: Sequence[Path], spec: SwarmSpec, damaged: dict[str, None]
) -> NewestCheckpoint | None:
    """damaged: gets the names of damaged ones. Raises `FileNotFoundError`."""
    for of, path in kept_in_order(folders, spec):
        try:
            checkpoint = of.look_into(path)
        except DamagedCheckpointError as error:
            log.warning("checkpoint %s is damaged and passed over: %s", path, error)
            damaged[path.name] = None
            continue
        if checkpoint is not None:
            was_fetched = path.parent.name == WATCHED
            return NewestCheckpoint(
                checkpoint=checkpoint, was_fetched=was_fetched, passed_over=tuple(damaged)
            )
    return None


def evaluation_of(folders: Sequence[Path], spec: SwarmSpec) -> Evaluated | None:
    """The last one of a run that this machine has made; None where none is kept.

    folders: one for each trainer of this machine.
    """
    kept = (CheckpointFolder(each, spec).evaluation() for each in folders)
    return max((each for each in kept if each), key=lambda each: each.time, default=None)
