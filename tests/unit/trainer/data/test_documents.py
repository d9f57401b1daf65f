"""Documents out of real files, and tokens out of documents."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from app.common.errors import DataError
from app.spec.sources.data import BytesTokenizer, FileTokenizer
from app.trainer.data import documents
from app.trainer.data.corpus import tokenized
from app.trainer.data.documents import Piece, PythonDocs, TextFiles
from app.trainer.data.tokenizer import ByteTokens, open_tokenizer, token_type
from tests.support.training.published import NO_DOWNLOADS


def files(*paths: Path, **options: Any) -> TextFiles:
    return TextFiles(
        paths=paths,
        **{"format": "auto", "text_field": "text", "field": "dataset_info.paths"} | options,
    )


def documents_of(source: TextFiles | PythonDocs) -> list[str]:
    found, text = [], ""
    for piece in source.pieces():
        text += piece.text
        if piece.last:
            found.append(text)
            text = ""
    assert not text, "the last document didn't end"
    return found


# --- text


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes("Grüße\r\nan alle".encode())
    assert documents_of(files(path)) == ["Grüße\r\nan alle"]


def test_files_keep_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / "b.txt", tmp_path / "a.txt"]
    for path in paths:
        path.write_text(path.stem)
    assert documents_of(files(*paths)) == ["b", "a"]


@given(text=st.text(max_size=60))
def test_no_character_is_lost_between_blocks(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_BLOCK", 3)
        assert documents_of(files(path)) == [text]


@pytest.mark.parametrize("before", [0, 5, 70_000, 200_001])
def test_a_byte_that_is_not_utf8_is_named(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * before + b"\xff" + b"y" * 10)
    with pytest.raises(DataError) as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.paths"
    assert f"{path} is not UTF-8: byte 0xff at position {before:,}." == caught.value.message


def test_a_character_cut_off_by_the_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc" + "é".encode()[:1])
    with pytest.raises(DataError, match="position 3"):
        documents_of(files(path))


def test_a_compressed_file_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"hello"))
    with pytest.raises(DataError, match="not UTF-8"):
        documents_of(files(path))


@pytest.mark.parametrize("name", ["missing.txt", "folder"])
def test_what_is_not_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        files(tmp_path / name).fingerprint()
    assert caught.value.field == "dataset_info.paths"
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.remedy


# --- JSON lines


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_json_lines_are_a_document_each(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"text": "one"}, {"text": None}, {"text": "two\n"})
    path.write_text(path.read_text() + "\n")  # an empty line at the end
    assert documents_of(files(path)) == ["one", "two\n"]


def test_the_format_can_be_said(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.data", {"body": "one"})
    assert documents_of(files(path, format="jsonl", text_field="body")) == ["one"]
    assert documents_of(files(path)) == ['{"body": "one"}\n']


def test_a_missing_key_names_those_there_are(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"text": "one"}, {"title": "t", "body": "b"})
    with pytest.raises(DataError) as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.text_field"
    assert "line 2" in caught.value.message
    assert "title, body" in caught.value.remedy


def test_text_that_is_none_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"text": 3})
    with pytest.raises(DataError, match="no text but a int") as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.text_field"


@pytest.mark.parametrize("line", ["{", '["text"]', '"text"', r'{"text": "\ud800"}'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2, is no JSON object") as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.paths"


def test_a_file_that_is_one_huge_line_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_MAX_LINE", 100)
    path = write_lines(tmp_path / "a.json", {"text": "x" * 200})
    with pytest.raises(DataError, match="line 1, is no JSON object"):
        documents_of(files(path))


# --- parquet


def write_parquet(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=100)
    return path


def test_parquet_rows_are_a_document_each(tmp_path: Path) -> None:
    texts = [f"row {number}" for number in range(1000)]
    path = write_parquet(tmp_path / "a.parquet", text=[*texts, None], other=[1] * 1001)
    assert documents_of(files(path)) == texts


def test_a_missing_column_names_those_there_are(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", body=["one"], title=["t"])
    with pytest.raises(DataError) as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.text_field"
    assert "body, title" in caught.value.remedy


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", text=[1, 2])
    with pytest.raises(DataError, match="no text but a int"):
        documents_of(files(path))


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really PAR1", b"hello"])
def test_a_broken_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet") as caught:
        documents_of(files(path))
    assert caught.value.field == "dataset_info.paths"


# --- the built-in text


def test_the_python_docs_are_there() -> None:
    topics = documents_of(PythonDocs())
    assert len(topics) > 50
    assert sum(map(len, topics)) > 400_000


# --- tokens


class Three:
    """Three pieces, two documents."""

    def fingerprint(self) -> str:
        return "three"

    def pieces(self) -> Iterator[Piece]:
        yield Piece("a", last=False)
        yield Piece("é", last=True)
        yield Piece("b", last=True)


def test_a_document_is_followed_by_the_separator(tmp_path: Path) -> None:
    tokens = tokenized(Three(), tokenizer=ByteTokens(), cache=tmp_path)
    assert isinstance(tokens, np.memmap)
    assert tokens.tobytes() == "aé\0b\0".encode()
    assert tokens.dtype == np.uint8


@pytest.mark.parametrize(
    ("size", "name"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_the_smallest_type_is_taken(size: int, name: str) -> None:
    assert token_type(size).name == name


def make_tokenizer(path: Path, *, special: str | None = None) -> Path:
    words = {word: number for number, word in enumerate(["[UNK]", "a", "b", "\n"])}
    made = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    made.enable_truncation(2)
    made.enable_padding(length=9)
    if special:
        made.add_special_tokens([special])
    made.save(str(path))
    return path


@pytest.mark.parametrize(
    ("special", "end"), [("<|endoftext|>", 4), ("</s>", 4), (None, 3), ("[MASK]", 3)]
)
def test_a_tokenizer_file_is_used(tmp_path: Path, special: str | None, end: int) -> None:
    path = make_tokenizer(tmp_path / "tokenizer.json", special=special)
    tokenizer = open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
    assert [each.tolist() for each in tokenizer.encode(["a b c a", ""])] == [[1, 2, 0, 1], []]
    assert tokenizer.separator.tolist() == [end]
    assert tokenizer.vocabulary_size == (5 if special else 4)


def test_a_gap_in_the_ids_counts_as_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "a": 70_000}, unk_token="[UNK]")).save(
        str(path)
    )
    tokenizer = open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
    assert tokenizer.vocabulary_size == 70_001
    assert tokenizer.encode(["a"])[0].tolist() == [70_000]


def test_another_tokenizer_makes_another_corpus(tmp_path: Path) -> None:
    plain = make_tokenizer(tmp_path / "plain.json")
    other = make_tokenizer(tmp_path / "other.json", special="</s>")
    for path in (plain, other):
        tokenizer = open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
        tokenized(Three(), tokenizer=tokenizer, cache=tmp_path / "cache")
    tokenized(
        Three(),
        tokenizer=open_tokenizer(BytesTokenizer(), NO_DOWNLOADS),
        cache=tmp_path / "cache",
    )
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "EOF"),
        (b"{}", "Model missing"),
        (b"\xff\xfe", "decode"),
        (b'{"model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}', "vocabulary is empty"),
    ],
)
def test_a_tokenizer_that_cannot_be_had_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
    assert caught.value.field == "dataset_info.tokenizer.path"
    assert str(path) in caught.value.message
    assert caught.value.remedy
