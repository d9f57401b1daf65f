"""The model that writes, with the newest weights of this machine."""

import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from app.common.errors import GenerationError
from app.common.i18n import _
from app.generation_messages import OpenModel
from app.spec import schema as specs
from app.spec.schema import SwarmSpec
from app.trainer.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedCheckpointError,
    kept_in_order,
)
from app.trainer.confinement.memory import limit_memory
from app.trainer.data.decoding import Decoder
from app.trainer.data.tokenizer import open_tokenizer
from app.trainer.model.adapters import load_state
from app.trainer.model.build import model_with
from app.trainer.model.pretrained import fetch_pretrained
from app.trainer.model.sampling import continuation
from app.trainer.pinned.downloads import Downloads

log = logging.getLogger(__name__)

MOST_WINDOW = 2048
"""Tokens that the model sees at most, however long its training sequences are: their keys and
values take memory."""


def keep_small(order: OpenModel) -> None:
    """Bound what this process takes: one thread of the CPU, and so much memory."""
    torch.set_num_threads(1)
    spec = specs.parse(order.spec)
    files = [path for _folder, path in _kept(order, spec)[:1]]
    if (pretrained := fetch_pretrained(spec, _downloads(order))) is not None:
        files += pretrained.files
    limit_memory(order.max_memory, mapped_files=sum(path.stat().st_size for path in files))


def _downloads(order: OpenModel) -> Downloads:
    """What a trainer has fetched; this process is offline."""
    return Downloads(cache=Path(order.cache_dir))


def _kept(order: OpenModel, spec: SwarmSpec) -> list[tuple[CheckpointFolder, Path]]:
    return kept_in_order([Path(each) for each in order.checkpoint_dirs], spec)


class Writer:
    """A model and its tokenizer. `refresh` must have been called before it writes.

    Raises `SpecError` or `DataError` for a model or tokenizer that can't be had.
    """

    def __init__(self, order: OpenModel) -> None:
        self._order = order
        self._spec = specs.parse(order.spec)
        self._tokenizer = open_tokenizer(self._spec.data.tokenizer, _downloads(order))
        self._window = min(self._spec.training.sequence_length, MOST_WINDOW)
        self._chance = torch.Generator()
        self._chance.seed()
        self._model: torch.nn.Module | None = None
        self._epoch = 0
        self._newest: Path | None = None

    def refresh(self) -> int:
        """Load the newest weights, if they aren't loaded; returns their epoch.

        Raises `GenerationError` where there are none, and `DeviceError` where they don't fit.
        """
        kept = _kept(self._order, self._spec)
        if kept and kept[0][1] == self._newest:
            return self._epoch
        for folder, path in kept:
            if (checkpoint := _read(folder, path)) is not None:
                self._take(checkpoint)
                self._newest = kept[0][1]
                return self._epoch
        raise GenerationError(
            _("this machine has no checkpoint of this model that can be read."),
            remedy=_("Train here until the end of an epoch: the weights are then kept here."),
        )

    def _take(self, checkpoint: Checkpoint) -> None:
        if self._model is None:
            size = self._tokenizer.vocabulary_size
            pretrained = fetch_pretrained(self._spec, _downloads(self._order))
            self._model = model_with(
                checkpoint.model, self._spec, vocabulary_size=size, pretrained=pretrained
            )
        else:
            load_state(self._model, checkpoint.model)
        self._epoch = checkpoint.epoch
        log.info("loaded the weights of epoch %d", checkpoint.epoch)

    def tokens_of(self, prompt: str) -> list[int]:
        """The tokens of a prompt, which begins a document."""
        (encoded,) = self._tokenizer.encode([prompt])
        return [*self._tokenizer.separator.tolist(), *encoded.tolist()]

    def decoder(self, before: list[int]) -> Decoder:
        """Makes text of tokens that follow ``before``."""
        return self._tokenizer.decoder(before)

    def continuation(self, tokens: list[int], *, temperature: float) -> Iterator[int]:
        """The tokens that follow, until the model ends the document."""
        assert self._model is not None
        end = self._tokenizer.separator.tolist()
        written = continuation(
            self._model,
            tokens,
            window=self._window,
            vocabulary_size=self._tokenizer.vocabulary_size,
            temperature=temperature,
            chance=self._chance,
        )
        for token in written:
            if [token] == end:
                return
            yield token


def _read(folder: CheckpointFolder, path: Path) -> Checkpoint | None:
    """None for one that is damaged, of another model, or was deleted by the trainer meanwhile."""
    try:
        return folder.look_into(path)
    except (DamagedCheckpointError, FileNotFoundError) as error:
        log.warning("checkpoint %s is passed over: %s", path, error)
        return None
