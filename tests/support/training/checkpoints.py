"""Checkpoints as a trainer leaves them."""

from pathlib import Path

import torch

from app.spec.schema import SwarmSpec
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from tests.support.training.models import built


def keep(spec: SwarmSpec, folder: Path, *, epoch: int = 1, writes: int | None = None) -> None:
    """Write a checkpoint of a tiny model.

    writes: the only byte that the model writes, whatever came before; None for a fresh model.
    """
    model = built(spec)
    if writes is not None:
        head = model.get_output_embeddings().weight
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            # the last layer norm gives (1, 0, 0, …), on which only this byte has a score
            model.transformer.ln_f.bias[0] = 1.0
            head[writes, 0] = 100.0
    CheckpointFolder(folder, spec).save(
        Checkpoint(epoch=epoch, position=0, model=model.state_dict(), optimizer={})
    )
