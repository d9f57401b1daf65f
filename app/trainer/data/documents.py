"""Read documents from files: text, JSON lines, parquet. No file is in memory as a whole."""

import codecs
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from app.common.errors import DataError
from app.common.i18n import _
from app.common.paths import open_regular, status_of_regular

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Format = Literal["text", "jsonl", "parquet"]

_BY_ENDING: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
"""The format of a file by its ending; a file with any other ending is text."""

_BLOCK = 64 * 1024
"""Bytes of text in a piece."""

_MAX_LINE = 64 * 1024 * 1024
"""Bytes of a line of JSON. A longer line means that the file is no JSON lines."""

_PARQUET_ROWS, _PARQUET_BYTES = 256, 16 * 2**20
"""Rows that are read together, and about how many bytes of text they may have."""

_MOST_UNPACKED, _LEAST_UNPACKED = 200, 2**24
"""Characters of text for each byte of a parquet file, and for any such file. Real text has
less than twenty a byte; a file made to fill the disk has millions."""

_MOST_CHARACTERS = 2**20
"""In a piece. A longer document is cut."""


class Piece(NamedTuple):
    """A part of a document."""

    text: str

    last: bool
    """The document ends with this piece."""


@dataclass(frozen=True, kw_only=True)
class PythonDocs:
    """The help texts that ship with Python: one document for each topic, sorted by name."""

    field: str = "dataset_info.name"
    """The field of the spec that errors name."""

    def fingerprint(self) -> str:
        """A hash of the text, since the help differs between versions of Python."""
        text = "\0".join(piece.text for piece in self.pieces())
        return hashlib.sha256(text.encode()).hexdigest()

    def pieces(self) -> Iterator[Piece]:
        """All topics."""
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield Piece(topics[name], last=True)


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Files of one format or several.

    A text file is one document. In JSON lines and parquet each row is a document, except rows whose
    text is null. Text must be UTF-8: a wrong byte is an error, since a silent repair would train
    the swarm's model on garbage.
    """

    paths: tuple[Path, ...]

    format: Literal["auto", "text", "jsonl", "parquet"]
    """Of all files; ``auto`` decides by the ending of each."""

    text_field: str
    """The key or column that holds the text."""

    field: str
    """The field of the spec that errors name."""

    def fingerprint(self) -> str:
        """The path, size and modification time of each file.

        Raises `DataError` for a file that can't be found.
        """
        parts = [self.format, self.text_field]
        for path in self.paths:
            size, modified = self._stat(path)
            parts.append(f"{path.absolute()}|{size}|{modified}")
        return "\n".join(parts)

    def pieces(self) -> Iterator[Piece]:
        """All documents, file by file. Raises `DataError` for what can't be read."""
        for path in self.paths:
            try:
                with open_regular(path) as stream:
                    yield from self._pieces_of(stream, path)
            except OSError as error:
                raise self._unreadable(path, error) from error

    def _pieces_of(self, stream: IO[bytes], path: Path) -> Iterator[Piece]:
        match _BY_ENDING.get(path.suffix.lower(), "text") if self.format == "auto" else self.format:
            case "text":
                return self._text(stream, path)
            case "jsonl":
                return self._json_lines(stream, path)
            case "parquet":
                return self._parquet(stream, path)

    def _text(self, stream: IO[bytes], path: Path) -> Iterator[Piece]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        position = 0
        # A piece ends at the end of a line, unless that is far off, so that few words are cut.
        while block := stream.read(_BLOCK) + stream.readline(_BLOCK):
            yield Piece(self._decoded(decoder, block, path=path, position=position), last=False)
            position += len(block)
        yield Piece(self._decoded(decoder, b"", path=path, position=position), last=True)

    def _decoded(
        self, decoder: codecs.IncrementalDecoder, block: bytes, *, path: Path, position: int
    ) -> str:
        pending = len(decoder.getstate()[0])  # bytes of a character that the last block ended in
        try:
            return decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = position - pending + error.start
            message = _("{path} is not UTF-8: byte {byte:#04x} at position {position:,}.")
            raise DataError(
                message.format(path=path, byte=error.object[error.start], position=at),
                field=self.field,
                remedy=_("Convert the file to UTF-8. If it isn't text, the invite has to say so."),
            ) from error

    def _json_lines(self, stream: IO[bytes], path: Path) -> Iterator[Piece]:
        number = 0
        while line := stream.readline(_MAX_LINE):
            number += 1
            if line.strip():
                where = _("{path}, line {number:,}").format(path=path, number=number)
                yield from self._document(self._row(line, where=where), where=where)

    def _row(self, line: bytes, *, where: str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise DataError(
                _("{where}, is no JSON object: {reason}.").format(where=where, reason=error),
                field=self.field,
                remedy=_(
                    "JSON lines hold one object a line; check the file or dataset_info.format."
                ),
            ) from error

    def _parquet(self, stream: IO[bytes], path: Path) -> Iterator[Piece]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(stream)
            self._check_column(table, where=str(path))
            rows, unpacked = _rows_together(table), 0
            most = _LEAST_UNPACKED + _MOST_UNPACKED * os.fstat(stream.fileno()).st_size
            for batch in table.iter_batches(batch_size=rows, columns=[self.text_field]):
                for value in batch.column(0):  # one by one: many rows may share one long text
                    for piece in self._document({self.text_field: value.as_py()}, where=str(path)):
                        unpacked += len(piece.text)
                        if unpacked > most:
                            raise self._too_dense(path)
                        yield piece
        except MemoryError:  # Arrow's is an ArrowException too, but says nothing of the file
            raise
        except pa.ArrowException as error:
            raise DataError(
                _("{path} is no readable parquet file: {reason}.").format(path=path, reason=error),
                field=self.field,
                remedy=_("Get the file again. If it is something else, the invite has to say so."),
            ) from error

    def _check_column(self, table: "pq.ParquetFile", *, where: str) -> None:
        names = list(table.schema_arrow.names)
        if self.text_field not in names:
            raise missing_text_field(self.text_field, where=where, columns=names)

    def _document(self, row: dict[str, Any], *, where: str) -> Iterator[Piece]:
        text = text_of(row, text_field=self.text_field, where=where)
        if text is not None:
            yield from pieces_of(text)

    def _stat(self, path: Path) -> tuple[int, int]:
        try:
            status = status_of_regular(path)
        except OSError as error:
            raise self._unreadable(path, error) from error
        return status.st_size, status.st_mtime_ns

    def _too_dense(self, path: Path) -> DataError:
        message = _("{path} unpacks to more than {count} times its size.")
        return DataError(
            message.format(path=path, count=_MOST_UNPACKED),
            field=self.field,
            remedy=_("It may be made to fill the disk: ask whoever made the swarm."),
        )

    def _unreadable(self, path: Path, error: OSError) -> DataError:
        message = _("{path} can't be read: {reason}.")
        return DataError(
            message.format(path=path, reason=error.strerror or error),
            field=self.field,
            remedy=_("Name existing files, one by one, which you may read."),
        )


def pieces_of(text: str) -> Iterator[Piece]:
    """A document in pieces of at most `_MOST_CHARACTERS`."""
    for begin in range(0, max(1, len(text)), _MOST_CHARACTERS):
        end = begin + _MOST_CHARACTERS
        yield Piece(text[begin:end], last=end >= len(text))


def _rows_together(table: "pq.ParquetFile") -> int:
    """How many rows to read at once: fewer where they are long."""
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    longest = max((each.total_byte_size // max(1, each.num_rows) for each in groups), default=0)
    return max(1, min(_PARQUET_ROWS, _PARQUET_BYTES // max(1, longest)))


def text_of(row: dict[str, Any], *, text_field: str, where: str) -> str | None:
    """The text of a row; None if it is null. Raises `DataError` if the row has no text."""
    if text_field not in row:
        raise missing_text_field(text_field, where=where, columns=list(row))
    text = row[text_field]
    if text is not None and not isinstance(text, str):
        message = _("{where}: {column!r} holds no text but a {type}.")
        raise DataError(
            message.format(where=where, column=text_field, type=type(text).__name__),
            field="dataset_info.text_field",
            remedy=_("Name the column that holds the text."),
        )
    return text


def missing_text_field(text_field: str, *, where: str, columns: list[str]) -> DataError:
    """The error for a column that doesn't exist; it names those that do."""
    names = ", ".join(columns[:50]) or _("(it has none)")
    return DataError(
        _("{where} has no column {column!r}.").format(where=where, column=text_field),
        field="dataset_info.text_field",
        remedy=_("Use one of: {names}.").format(names=names),
    )
