"""Files that unpack to more than a machine holds end in an error, within a bounded memory."""

import faulthandler
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from tokenizers import models, normalizers

from app.common.errors import DataError
from app.spec.sources.data import FileTokenizer
from app.trainer.data.corpus import tokenized
from app.trainer.data.documents import Piece, TextFiles
from app.trainer.data.reader import read_apart
from app.trainer.data.tokenizer import ByteTokens, TokenArray, open_tokenizer, tokens_of
from tests.support.training.published import NO_DOWNLOADS

MIB = 2**20
BYTES = np.dtype("u1")
LIMIT = 256 * MIB


def read(make: Any) -> list[TokenArray]:
    def quietly() -> Iterator[TokenArray]:
        faulthandler.disable()  # pytest's, which writes pages about an abort
        yield from make()

    return list(read_apart(quietly, dtype=BYTES, memory=LIMIT))


def peak_of_children() -> int:
    """Bytes: the most that any child of this process has had in memory so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def arrays() -> Iterator[TokenArray]:
    for number in range(5):
        yield np.full(number * MIB, number, dtype=np.uint8)


def test_tokens_arrive_as_they_were() -> None:
    found = np.concatenate(read(arrays))
    assert np.array_equal(found, np.concatenate(list(arrays())))


def test_an_error_of_the_data_arrives_as_it_was() -> None:
    def broken() -> Iterator[TokenArray]:
        yield np.zeros(3, dtype=np.uint8)
        raise DataError("is broken.", field="dataset_info.paths", remedy="Mend it.")

    stream = read_apart(broken, dtype=BYTES)
    assert next(stream).size == 3
    with pytest.raises(DataError) as caught:
        next(stream)
    assert caught.value.text == "dataset_info.paths: is broken. Mend it."


@pytest.mark.parametrize("number", [signal.SIGSYS, signal.SIGTERM])
def test_a_parser_that_crashes_is_an_error_of_the_data(number: int) -> None:
    def crashing() -> Iterator[TokenArray]:
        os.kill(os.getpid(), number)
        yield np.zeros(1, dtype=np.uint8)

    with pytest.raises(DataError, match=rf"ended unexpectedly \(-{int(number)}\)") as caught:
        read(crashing)
    assert caught.value.field == "dataset_info"


def test_memory_without_end_is_an_error_of_the_data() -> None:
    def greedy() -> Iterator[TokenArray]:
        kept = []
        while True:
            kept.append(bytearray(16 * MIB))
            yield np.zeros(1, dtype=np.uint8)

    with pytest.raises(DataError, match=r"more than 0\.25 GiB of memory"):
        read(greedy)


def test_a_stream_that_is_left_ends_its_process() -> None:
    def endless() -> Iterator[TokenArray]:
        while True:
            yield np.zeros(MIB, dtype=np.uint8)

    others = set(psutil.Process().children())  # of earlier tests: torch keeps a helper
    stream = read_apart(endless, dtype=BYTES)
    next(stream)
    (child,) = set(psutil.Process().children()) - others
    stream.close()
    assert not child.is_running()


def test_it_can_be_left_from_another_thread() -> None:
    others = set(psutil.Process().children())
    stream = read_apart(arrays, dtype=BYTES)
    next(stream)
    leaving = threading.Thread(target=stream.close)
    leaving.start()
    leaving.join()
    assert set(psutil.Process().children()) <= others


# --- bombs


def files(path: Path) -> TextFiles:
    return TextFiles(paths=(path,), format="auto", text_field="text", field="dataset_info.paths")


def tokens_in(path: Path) -> list[TokenArray]:
    return read(partial(tokens_of, files(path).pieces(), tokenizer=ByteTokens()))


def write_rows(path: Path, *, count: int, text: str, restored: bool) -> Path:
    """Parquet with the same text in each row, stored once. restored: Arrow reads it as one text."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [text])
    pq.write_table(pa.table({"text": column}), path, compression="zstd", store_schema=restored)
    assert path.stat().st_size < MIB
    return path


def test_one_long_text_in_200_rows_fills_no_memory(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", count=200, text="x" * (96 * MIB), restored=False)
    before = peak_of_children()  # of earlier tests
    with pytest.raises(DataError, match=r"more than 0\.25 GiB of memory") as caught:
        tokens_in(path)
    assert caught.value.field == "dataset_info"
    # A child shares our memory, and its peak counts that as well; the texts together are 19 GiB.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak_of_children() <= max(before, ours + 2**30)


def test_one_long_text_in_200_rows_fills_no_disk(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", count=200, text="x" * MIB, restored=True)
    with pytest.raises(DataError, match="unpacks to more than 200 times its size") as caught:
        tokens_in(path)
    assert caught.value.field == "dataset_info.paths"


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": ' + b"[" * 2_000_000,
        b'{"text": "a", "b": ' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}",
        b'{"text": "a", "b": [' + b"{}," * 4_000_000 + b"{}]}",
    ],
    ids=["nested", "nested and closed", "many objects"],
)
def test_json_that_nests_or_unpacks(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "bomb.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(DataError, match=r"is no JSON object|GiB of memory"):
        tokens_in(path)


def test_a_tokenizer_that_makes_a_long_text_of_each_character(tmp_path: Path) -> None:
    made = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence([normalizers.Replace("a", "aa")] * 40)
    made.save(str(tmp_path / "tokenizer.json"))
    chosen = FileTokenizer(kind="file", path=str(tmp_path / "tokenizer.json"))
    pieces = [Piece("a" * 1000, last=True)]
    with pytest.raises(DataError, match=r"more than 0\.25 GiB of memory"):
        read(partial(tokens_of, pieces, tokenizer=open_tokenizer(chosen, NO_DOWNLOADS)))


def test_a_long_document_is_cut_and_none_of_it_lost(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    text = "0123456789" * 250_000
    path.write_text(json.dumps({"text": text}) + "\n")
    pieces = list(files(path).pieces())
    assert [len(piece.text) for piece in pieces] == [MIB, MIB, len(text) - 2 * MIB]
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.last for piece in pieces] == [False, False, True]


# --- what is no regular file


@pytest.fixture
def special(tmp_path: Path) -> dict[str, Path]:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    return {
        "device": Path("/dev/zero"),
        "pipe": tmp_path / "pipe",
        "link to a device": tmp_path / "link",
        "kernel's file": Path("/proc/self/environ"),
        "through the process": Path("/proc/self/fd/0"),
    }


@pytest.mark.parametrize(
    "which", ["device", "pipe", "link to a device", "kernel's file", "through the process"]
)
def test_what_is_no_regular_file_is_named(
    special: dict[str, Path], which: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="can't be read: it is no regular file") as caught:
        tokenized(files(special[which]), tokenizer=ByteTokens(), cache=tmp_path)
    assert caught.value.field == "dataset_info.paths"
    with pytest.raises(DataError, match="can't be read: it is no regular file"):
        list(files(special[which]).pieces())
    with pytest.raises(DataError, match="can't be read: it is no regular file") as caught:
        open_tokenizer(FileTokenizer(kind="file", path=str(special[which])), NO_DOWNLOADS)
    assert caught.value.field == "dataset_info.tokenizer.path"


def test_a_huge_tokenizer_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(DataError, match="it has more than 64 MiB") as caught:
        open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
    assert caught.value.field == "dataset_info.tokenizer.path"


def test_a_vocabulary_of_billions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    model = {"type": "WordLevel", "vocab": {"[UNK]": 4_000_000_000}, "unk_token": "[UNK]"}
    path.write_text(json.dumps({"model": model}))
    with pytest.raises(DataError, match="its largest token id is 4,000,000,000"):
        open_tokenizer(FileTokenizer(kind="file", path=str(path)), NO_DOWNLOADS)
