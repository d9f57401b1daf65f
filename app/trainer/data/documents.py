"""Documents out of files: text, JSON lines, parquet, never a whole file in memory."""

import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from app.common.errors import DataError
from app.common.i18n import _

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Format = Literal["text", "jsonl", "parquet"]

_BY_ENDING: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
"""Any other ending is text."""

_BLOCK = 64 * 1024  # bytes of text in a piece
_MAX_LINE = 64 * 1024 * 1024  # bytes of a line of JSON; one of 64 MiB is no line but another format
_PARQUET_ROWS = 256


class Piece(NamedTuple):
    """Some text of a document. last: the document ends after it."""

    text: str
    last: bool


@dataclass(frozen=True, kw_only=True)
class PythonDocs:
    """The help texts that ship with Python, one document a topic, in the order of their names."""

    field: str = "dataset_info.name"

    def fingerprint(self) -> str:
        """Differs between versions of Python whose help differs."""
        text = "\0".join(piece.text for piece in self.pieces())
        return hashlib.sha256(text.encode()).hexdigest()

    def pieces(self) -> Iterator[Piece]:
        """Every topic."""
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield Piece(topics[name], last=True)


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Files of one kind or several. field: the field of the spec that errors name.

    A text file is one document; in JSON lines and parquet each row is one, except those whose
    text is null. Text is UTF-8: a byte that isn't is an error, since silent repair would train
    everybody's model on rubbish.
    """

    paths: tuple[Path, ...]
    format: Literal["auto", "text", "jsonl", "parquet"]
    text_field: str
    field: str

    def fingerprint(self) -> str:
        """Differs when a file was replaced or written to, by its size and time. Raises
        `DataError` for one that isn't there."""
        parts = [self.format, self.text_field]
        for path in self.paths:
            size, modified = self._stat(path)
            parts.append(f"{path.absolute()}|{size}|{modified}")
        return "\n".join(parts)

    def pieces(self) -> Iterator[Piece]:
        """All documents, file by file. Raises `DataError`."""
        for path in self.paths:
            try:
                with path.open("rb") as stream:
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
        # a piece ends at a line's end where lines are short, so that few words are cut in two
        while block := stream.read(_BLOCK) + stream.readline(_BLOCK):
            yield Piece(self._decoded(decoder, block, path=path, position=position), last=False)
            position += len(block)
        yield Piece(self._decoded(decoder, b"", path=path, position=position), last=True)

    def _decoded(
        self, decoder: codecs.IncrementalDecoder, block: bytes, *, path: Path, position: int
    ) -> str:
        pending = len(decoder.getstate()[0])  # first bytes of a character the last block cut
        try:
            return decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = position - pending + error.start
            message = _("{path} is not UTF-8: byte {byte:#04x} at position {position:,}.")
            raise DataError(
                message.format(path=path, byte=error.object[error.start], position=at),
                field=self.field,
                remedy=_("Convert the file to UTF-8, or set dataset_info.format if it isn't text."),
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
        except msgspec.MsgspecError as error:
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
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=[self.text_field]):
                for text in batch.column(0).to_pylist():
                    yield from self._document({self.text_field: text}, where=str(path))
        except pa.ArrowException as error:
            raise DataError(
                _("{path} is no readable parquet file: {reason}.").format(path=path, reason=error),
                field=self.field,
                remedy=_("Get the file again, or set dataset_info.format if it is something else."),
            ) from error

    def _check_column(self, table: "pq.ParquetFile", *, where: str) -> None:
        names = list(table.schema_arrow.names)
        if self.text_field not in names:
            raise missing_text_field(self.text_field, where=where, columns=names)

    def _document(self, row: dict[str, Any], *, where: str) -> Iterator[Piece]:
        text = text_of(row, text_field=self.text_field, where=where)
        if text is not None:
            yield Piece(text, last=True)

    def _stat(self, path: Path) -> tuple[int, int]:
        try:
            if path.is_dir():
                raise IsADirectoryError(0, _("it is a folder"))
            status = path.stat()
        except OSError as error:
            raise self._unreadable(path, error) from error
        return status.st_size, status.st_mtime_ns

    def _unreadable(self, path: Path, error: OSError) -> DataError:
        message = _("{path} can't be read: {reason}.")
        return DataError(
            message.format(path=path, reason=error.strerror or error),
            field=self.field,
            remedy=_("Name existing files, one by one, which you may read."),
        )


def text_of(row: dict[str, Any], *, text_field: str, where: str) -> str | None:
    """The text of a row, None where it is null. Raises `DataError` if it has none."""
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
    """The error for a column that isn't there, naming those that are."""
    names = ", ".join(columns[:50]) or _("(it has none)")
    return DataError(
        _("{where} has no column {column!r}.").format(where=where, column=text_field),
        field="dataset_info.text_field",
        remedy=_("Use one of: {names}.").format(names=names),
    )
