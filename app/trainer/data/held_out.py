"""Which text nobody trains on: the text alone decides, so that all peers agree.

A document is cut into chunks where its lines say so, not at fixed positions, so that a passage is
cut alike in two files. A chunk is held out when its hash is among the lowest. Chunks that are alike
are all held out, or none is.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.trainer.data.corpus import Source
from app.trainer.data.documents import Piece
from app.trainer.data.tokenizer import TokenArray, Tokenizer

MOST_HELD_OUT = 2**20
"""Characters that are kept for evaluations; more text makes them no better, only slower."""

MOST_LOOKED_AT = 16 * 2**20
"""Characters of a stream that are searched for them."""

_LINES = 32
"""In a chunk, on average."""

_MOST_CHUNK = 8192
"""Characters of a chunk."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Text for evaluations."""

    tokens: TokenArray
    """Shape [n]; any first part of it is a random sample of the whole."""

    tokenizer: Tokenizer

    prompts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """To go on from, each with its tokens, at least one."""


class Split:
    """Decides which chunks are held out."""

    def __init__(self, share: float, *, keep_first: bool) -> None:
        """share: of all text that is held out.

        keep_first: train on the first chunk, and all like it, so that the shortest text has
        something to train on.
        """
        self._below = int(share * 2**64)
        self._keep_first = keep_first
        self._first: int | None = None

    def rank(self, text: str) -> int | None:
        """The place of a chunk among those held out, in the order of their hashes; None for one
        that is trained on."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        rank = int.from_bytes(digest, "big")
        if self._first is None and self._keep_first:
            self._first = rank
        return rank if rank < self._below and rank != self._first else None


def trained_on(pieces: Iterable[Piece], split: Split) -> Iterator[Piece]:
    """Documents without what is held out. The text before and after it become two documents."""
    open_document = in_gap = False
    for chunk in chunks_of(pieces):
        if chunk.text and split.rank(chunk.text) is not None:
            if open_document:
                yield Piece("", last=True)
            open_document, in_gap = False, not chunk.last
        elif chunk.text or not in_gap:
            yield chunk
            open_document, in_gap = not chunk.last, False
        else:
            in_gap = False  # the document has ended with its gap


def held_out(pieces: Iterable[Piece], split: Split, *, most_looked_at: int | None) -> list[Piece]:
    """What is held out, as documents: at most about `MOST_HELD_OUT` characters, those with the
    lowest hashes, in the order of their hashes.

    most_looked_at: characters after which the search ends; None for all.
    """
    found: dict[int, str] = {}
    size = looked_at = 0
    for chunk in chunks_of(pieces):
        rank = split.rank(chunk.text) if chunk.text else None
        if rank is not None and rank not in found:
            found[rank] = chunk.text
            size += len(chunk.text)
            if size > 2 * MOST_HELD_OUT:
                found = _lowest(found)
                size = sum(map(len, found.values()))
        looked_at += len(chunk.text)
        if most_looked_at is not None and looked_at >= most_looked_at:
            break
    return [Piece(text, last=True) for text in _lowest(found).values()]


def _lowest(found: dict[int, str]) -> dict[int, str]:
    kept: dict[int, str] = {}
    size = 0
    for rank in sorted(found):
        kept[rank] = found[rank]
        size += len(found[rank])
        if size >= MOST_HELD_OUT:
            break
    return kept


def chunks_of(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same documents in other pieces. Where one ends depends on its last line alone, or on its
    length if that is `_MOST_CHUNK`."""
    lines: list[str] = []
    size = 0
    for piece in pieces:
        for line in _lines_of(piece.text):
            if size + len(line) > _MOST_CHUNK:
                yield Piece("".join(lines), last=False)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            if zlib.crc32(line.encode("utf-8", "surrogatepass")) % _LINES == 0:
                yield Piece("".join(lines), last=False)
                lines, size = [], 0
        if piece.last:
            yield Piece("".join(lines), last=True)
            lines, size = [], 0


def _lines_of(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        for begin in range(0, len(line), _MOST_CHUNK):
            yield line[begin : begin + _MOST_CHUNK]


# --- as sources of a corpus


@dataclass(frozen=True, kw_only=True)
class TrainingPart:
    """Of a source: what is not held out."""

    source: Source
    share: float

    def fingerprint(self) -> str:
        """Differs with the source, and with the share."""
        return f"without {self.share}\n{self.source.fingerprint()}"

    def pieces(self) -> Iterator[Piece]:
        """All documents."""
        return trained_on(self.source.pieces(), Split(self.share, keep_first=True))


@dataclass(frozen=True, kw_only=True)
class HeldOutPart:
    """Of a source: what is held out."""

    source: Source

    share: float
    """1 for a source of which all is for evaluations."""

    most_looked_at: int | None = None
    """Characters of the source that are searched; None for all."""

    def fingerprint(self) -> str:
        """Differs with the source, and with the share."""
        return f"held out {self.share}\n{self.source.fingerprint()}"

    def pieces(self) -> Iterator[Piece]:
        """All documents; the first ones are a random sample."""
        is_part = self.share < 1 and self.most_looked_at is None
        split = Split(self.share, keep_first=is_part)
        yield from held_out(self.source.pieces(), split, most_looked_at=self.most_looked_at)


@dataclass(frozen=True, kw_only=True)
class HeldOutParts:
    """Of a mixture: what is held out of each source, in the proportions of its samples."""

    parts: tuple[HeldOutPart, ...]

    weights: tuple[float, ...]
    """Of the parts, above 0."""

    def fingerprint(self) -> str:
        """Differs with the sources, their weights, and the share."""
        each = zip(self.weights, self.parts, strict=True)
        return "\n".join(f"{weight} {part.fingerprint()}" for weight, part in each)

    def pieces(self) -> Iterator[Piece]:
        """All documents, about `MOST_HELD_OUT` characters; the first ones are a random sample,
        until a source has no more."""
        placed: list[tuple[float, Piece]] = []
        for weight, part in zip(self.weights, self.parts, strict=True):
            before = 0
            for piece in part.pieces():
                placed.append((before / weight, piece))
                before += len(piece.text)
        size = 0
        for _place, piece in sorted(placed, key=lambda each: each[0]):
            if size >= MOST_HELD_OUT:
                return
            size += len(piece.text)
            yield piece
