"""The model that writes, with the newest weights of this machine."""

import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from app.common.errors import GenerationError
from app.common.i18n import _
from app.protocol import OpenModel
from app.spec import schema as specs
from app.spec.schema import SlotTokenizer
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from app.trainer.confinement.memory import limit_memory
from app.trainer.data.decoding import Decoder
from app.trainer.data.tokenizer import open_tokenizer
from app.trainer.generation.sampling import continuation
from app.trainer.model.build import build_model
from app.trainer.room import Room

log = logging.getLogger(__name__)

MOST_WINDOW = 2048
"""Tokens that the model sees at most, however long its training sequences are: their keys and
values take memory."""


def keep_small(order: OpenModel) -> None:
    """Bound what this process takes: one thread of the CPU, and so much memory."""
    torch.set_num_threads(1)
    size = max((each.newest_size for each in _folders(order)), default=0)
    limit_memory(order.max_memory, mapped_files=size)


def _folders(order: OpenModel) -> list[CheckpointFolder]:
    spec = specs.parse(order.spec)
    return [CheckpointFolder(Path(each), spec) for each in order.checkpoint_dirs]


class Writer:
    """A model and its tokenizer. `refresh` must have been called before it writes.

    Raises `GenerationError` where this machine has no checkpoint of the model, and what building
    model and tokenizer raises.
    """

    def __init__(self, order: OpenModel) -> None:
        spec = specs.parse(order.spec)
        self._folders = _folders(order)
        self._epoch: int | None = None
        if self._newest_folder() is None:
            raise _no_checkpoint()
        assert not isinstance(spec.data.tokenizer, SlotTokenizer)  # the app has filled it
        self._tokenizer = open_tokenizer(spec.data.tokenizer)
        self._model = build_model(
            spec,
            vocabulary_size=self._tokenizer.vocabulary_size,
            room=Room(device=torch.device("cpu"), allowed=order.max_memory),
            only_read=True,
        ).eval()
        self._window = min(spec.training.sequence_length, MOST_WINDOW)
        self._chance = torch.Generator()
        self._chance.seed()

    def refresh(self) -> int:
        """Load the newest weights, if they aren't loaded; returns their epoch.

        Raises `GenerationError` where there are none.
        """
        newest = self._newest_folder()
        if self._epoch is not None and newest is not None and newest.newest_epoch == self._epoch:
            return self._epoch
        checkpoint = self._newest()
        if checkpoint is None:
            raise _no_checkpoint()
        self._model.load_state_dict(checkpoint.model)
        self._epoch = checkpoint.epoch
        log.info("loaded the weights of epoch %d", checkpoint.epoch)
        return checkpoint.epoch

    def _newest_folder(self) -> CheckpointFolder | None:
        known = [each for each in self._folders if each.newest_epoch is not None]
        return max(known, key=lambda each: each.newest_epoch or 0, default=None)

    def _newest(self) -> Checkpoint | None:
        by_age = sorted(self._folders, key=lambda each: each.newest_epoch or -1, reverse=True)
        found = (each.load_newest(only_read=True) for each in by_age)
        return next((each for each in found if each is not None), None)

    def tokens_of(self, prompt: str) -> list[int]:
        """The tokens of a prompt, which begins a document."""
        (encoded,) = self._tokenizer.encode([prompt])
        return [*self._tokenizer.separator.tolist(), *encoded.tolist()]

    def decoder(self, before: list[int]) -> Decoder:
        """Makes text of tokens that follow ``before``."""
        return self._tokenizer.decoder(before)

    def continuation(self, tokens: list[int], *, temperature: float) -> Iterator[int]:
        """The tokens that follow, until the model ends the document."""
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


def _no_checkpoint() -> GenerationError:
    return GenerationError(
        _("this machine has no checkpoint of this model that can be read."),
        remedy=_("Train here until the end of an epoch: the weights are then kept here."),
    )
