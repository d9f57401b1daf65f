"""A finite source as one flat array of tokens, memory-mapped from a file in the cache.

The file is made once. A text may be larger than the memory: the operating system reads only the
pages that a batch touches.
"""

import errno
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from app.common.errors import DataError
from app.common.i18n import _
from app.trainer.data.documents import Piece
from app.trainer.data.reader import MEMORY, read_apart
from app.trainer.data.tokenizer import TokenArray, Tokenizer, token_type, tokens_of

log = logging.getLogger(__name__)

_LAYOUT = "1"
"""Change it when files that an earlier version of this module wrote must not be reused."""

_SPARE_DISK = 2**30
"""Bytes that stay free on the disk: a small file may hold more text than any disk."""

_LOOK_BYTES = 64 * 2**20
"""The free room is looked at again after so many bytes."""


class Source(Protocol):
    """A finite number of documents, each time in the same order."""

    def fingerprint(self) -> str:
        """A string that differs when the text may differ."""

    def pieces(self) -> Iterator[Piece]:
        """All documents, from the first."""


def tokenized(
    source: Source, *, tokenizer: Tokenizer, cache: Path, memory: int = MEMORY
) -> TokenArray:
    """The tokens of all documents, each followed by the separator: read-only, shape [n].

    memory: bytes that the process which reads the source may take.

    Raises `DataError` if the source can't be read or the cache can't be written.
    """
    kind = token_type(tokenizer.vocabulary_size)
    path = cache / f"{_key(source, tokenizer)}.{kind.name}.bin"
    if not path.exists():
        try:
            read = partial(_tokens, source, tokenizer=tokenizer)
            _write(path, read_apart(read, dtype=kind, memory=memory))
        except OSError as error:  # errors of the source are DataErrors already
            raise _unwritable(cache, error) from error
    if path.stat().st_size == 0:  # an empty file can't be mapped
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")


def _key(source: Source, tokenizer: Tokenizer) -> str:
    parts = "\0".join((_LAYOUT, tokenizer.fingerprint, source.fingerprint()))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _tokens(source: Source, *, tokenizer: Tokenizer) -> Iterator[TokenArray]:
    return tokens_of(source.pieces(), tokenizer=tokenizer)


def _write(path: Path, arrays: Generator[TokenArray, None, None]) -> None:
    """Write to a temporary file and rename it. Several trainers may write at the same time, and one
    that is killed leaves no incomplete corpus."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream, closing(arrays):
            _write_all(stream, arrays)
            log.info("tokenized %d bytes into %s", stream.tell(), path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(stream: IO[bytes], arrays: Iterable[TokenArray]) -> None:
    looked_at = -_LOOK_BYTES
    for array in arrays:
        if stream.tell() - looked_at >= _LOOK_BYTES:
            looked_at = stream.tell()
            if shutil.disk_usage(stream.fileno()).free < _SPARE_DISK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
