"""The hub's streaming code, over local files: no hub is reached from a test."""

import gc
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import numpy as np
import pytest

from app.common.errors import DataError
from app.spec.sources.data import HubData
from app.trainer.data.batches import StreamBatches
from app.trainer.data.documents import Piece
from app.trainer.data.hub import check_harmless, documents_of, hub_tokens
from app.trainer.data.reader import read_apart
from app.trainer.data.tokenizer import ByteTokens, TokenArray, tokens_of


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"text": f"row {number}" if number else None} for number in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def opened(path: Path, *, kind: str = "json") -> Any:
    return datasets.load_dataset(
        kind,
        data_files=str(path),
        split="train",
        streaming=True,
        cache_dir=str(path.parent / "cache"),
    )


def drawn(path: Path, count: int, *, order: int = 1, text_field: str = "text") -> list[str]:
    stream = documents_of(opened(path), name="us/rows", text_field=text_field, order=order)
    return list(islice(stream, count))


def test_a_pass_has_every_document_once_in_some_order(rows: Path) -> None:
    expected = [f"row {number}" for number in range(1, 40)]
    documents = drawn(rows, 39)
    assert documents != expected
    assert sorted(documents) == sorted(expected)


def test_the_next_pass_has_another_order(rows: Path) -> None:
    documents = drawn(rows, 78)
    assert sorted(documents[:39]) == sorted(documents[39:])
    assert documents[:39] != documents[39:]


def test_the_order_is_reproducible_and_the_peers_own(rows: Path) -> None:
    assert drawn(rows, 39, order=2**127) == drawn(rows, 39, order=2**127)
    assert drawn(rows, 39, order=2**127) != drawn(rows, 39, order=2**127 + 1)


def test_a_missing_column_names_those_there_are(rows: Path) -> None:
    with pytest.raises(DataError) as caught:
        drawn(rows, 1, text_field="body")
    assert caught.value.field == "dataset_info.text_field"
    assert caught.value.remedy == "Use one of: text."


def test_a_data_set_without_text_is_refused_not_read_forever(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": null}\n')
    with pytest.raises(DataError, match="holds no text"):
        drawn(path, 1)


@pytest.mark.logs_error("Failed to read file|JSON")
def test_a_stream_that_breaks_is_said(rows: Path) -> None:
    stream = documents_of(opened(rows), name="us/rows", text_field="text", order=1)
    rows.write_text('{"text": "one"}\nbroken\n')
    with pytest.raises(DataError, match="us/rows can't be streamed") as caught:
        next(stream)
    assert caught.value.field == "dataset_info.name"
    # the library's traceback refers to itself, and holds the thread that read ahead
    caught.value.__cause__ = caught.value.__context__ = None
    gc.collect()


def test_a_stream_that_is_left_leaves_no_process(rows: Path) -> None:
    def tokens() -> Iterator[TokenArray]:
        texts = documents_of(opened(rows), name="us/rows", text_field="text", order=1)
        return tokens_of((Piece(text, last=True) for text in texts), tokenizer=ByteTokens())

    reading = read_apart(tokens, dtype=np.dtype("u1"))
    batches = StreamBatches(reading, sequence_length=8, vocabulary_size=256)
    assert batches.next(2).shape == (2, 9)
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        batches.next(1000)


# --- what is refused


@pytest.mark.parametrize("name", ["text", "json", "wikitext", "..", "../home", "owner/.."])
def test_a_name_that_could_be_a_local_folder_is_refused(tmp_path: Path, name: str) -> None:
    data = HubData(source="hub", name=name)
    with pytest.raises(DataError, match="not a full name") as caught:
        hub_tokens(data, tokenizer=ByteTokens(), order=1, cache=tmp_path, sign_in=False)
    assert caught.value.field == "dataset_info.name"


def test_local_files_behind_a_card_are_refused(rows: Path, tmp_path: Path) -> None:
    builder = datasets.load_dataset_builder(
        "json", data_files=str(rows), cache_dir=str(tmp_path / "cache")
    )
    with pytest.raises(DataError, match=r"points outside the hub, at .*rows\.jsonl"):
        check_harmless(builder, name="us/rows")


@pytest.mark.filterwarnings("ignore:The Pandas builder is deprecated")
def test_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.pkl").write_bytes(b"")
    builder = datasets.load_dataset_builder(
        "pandas", data_files=str(tmp_path / "rows.pkl"), cache_dir=str(tmp_path / "cache")
    )
    with pytest.raises(DataError, match="its format is 'pandas'"):
        check_harmless(builder, name="us/rows")


def test_without_a_network_the_name_and_a_remedy_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    data = HubData(source="hub", name="no-such-owner/no-such-data-set")
    with pytest.raises(DataError, match="no-such-owner/no-such-data-set") as caught:
        hub_tokens(data, tokenizer=ByteTokens(), order=1, cache=tmp_path, sign_in=False)
    assert caught.value.field == "dataset_info.name"
    assert "Check the network" in caught.value.remedy
