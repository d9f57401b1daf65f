"""A finite source as one flat array of tokens, memory-mapped from a file in the cache.

The file is made once. Where a text is larger than the memory, the operating system reads only
the pages that a batch touches.
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
"""Raised when files of an earlier version of this module must not be reused."""

_PIECES = 128
"""How many pieces are tokenised at a time: at most 16 MiB of text, or 128 rows."""


class Source(Protocol):
    """Where documents come from, all of them, each time in the same order."""

    def fingerprint(self) -> str:
        """Differs when the text may differ."""

    def pieces(self) -> Iterator[Piece]:
        """The documents, from the first."""


def tokenised(source: Source, *, tokenizer: Tokenizer, cache: Path) -> TokenArray:
    """The tokens of all documents, each followed by the separator: read-only, shape [n].

    Raises `DataError` where the source can't be read or the cache not be written.
    """
    kind = token_type(tokenizer.vocabulary_size)
    path = cache / f"{_key(source, tokenizer)}.{kind.name}.bin"
    if not path.exists():
        try:
            _write(path, _tokens(source.pieces(), tokenizer=tokenizer))
        except OSError as error:  # the source's own are DataErrors already
            raise _unwritable(cache, error) from error
    if path.stat().st_size == 0:  # which can't be mapped
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
    """Write to a file of its own, then rename: several trainers may do so at once, and one
    that is killed leaves no half corpus."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _write_all(stream, arrays)
            log.info("tokenised %d bytes into %s", stream.tell(), path)
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
