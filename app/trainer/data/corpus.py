"""A finite source as one flat array of tokens, memory-mapped from a file in the cache.

The file is made once. A text may be larger than the memory: the operating system reads only the
pages that a batch touches.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from app.common.errors import DataError
from app.common.i18n import _
from app.trainer.data.documents import Piece
from app.trainer.data.tokenizer import TokenArray, Tokenizer, token_type

log = logging.getLogger(__name__)

_LAYOUT = "1"
"""Change it when files that an earlier version of this module wrote must not be reused."""

_PIECES = 128
"""Pieces that are tokenized together: at most 16 MiB of text, or 128 rows."""


class Source(Protocol):
    """A finite number of documents, each time in the same order."""

    def fingerprint(self) -> str:
        """A string that differs when the text may differ."""

    def pieces(self) -> Iterator[Piece]:
        """All documents, from the first."""


def tokenized(source: Source, *, tokenizer: Tokenizer, cache: Path) -> TokenArray:
    """The tokens of all documents, each followed by the separator: read-only, shape [n].

    Raises `DataError` if the source can't be read or the cache can't be written.
    """
    kind = token_type(tokenizer.vocabulary_size)
    path = cache / f"{_key(source, tokenizer)}.{kind.name}.bin"
    if not path.exists():
        try:
            _write(path, _tokens(source.pieces(), tokenizer=tokenizer))
        except OSError as error:  # errors of the source are DataErrors already
            raise _unwritable(cache, error) from error
    if path.stat().st_size == 0:  # an empty file can't be mapped
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")


def _key(source: Source, tokenizer: Tokenizer) -> str:
    parts = "\0".join((_LAYOUT, tokenizer.fingerprint, source.fingerprint()))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _tokens(pieces: Iterator[Piece], *, tokenizer: Tokenizer) -> Iterator[TokenArray]:
    while batch := list(islice(pieces, _PIECES)):
        encoded = tokenizer.encode([piece.text for piece in batch])
        for piece, tokens in zip(batch, encoded, strict=True):
            yield tokens
            if piece.last:
                yield tokenizer.separator


def _write(path: Path, arrays: Iterable[TokenArray]) -> None:
    """Write to a temporary file and rename it. Several trainers may write at the same time, and one
    that is killed leaves no incomplete corpus."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _write_all(stream, arrays)
            log.info("tokenized %d bytes into %s", stream.tell(), path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(stream: IO[bytes], arrays: Iterable[TokenArray]) -> None:
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()
    os.fsync(stream.fileno())


def _unwritable(cache: Path, error: OSError) -> DataError:
    message = _("the tokens can't be kept in {cache}: {reason}.")
    return DataError(
        message.format(cache=cache, reason=error.strerror or error),
        field="dataset_info",
        remedy=_("Make room on the disk, or choose another folder for the cache."),
    )
