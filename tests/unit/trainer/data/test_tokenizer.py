"""Tokenizers from the hub at a commit and from https with their hash, and as files of ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import DataError, ProtocolError
from app.spec.sources.data import HttpsTokenizer, HubTokenizer, SlotTokenizer
from app.trainer.data import tokenizer as module
from app.trainer.data.tokenizer import ByteTokens, open_tokenizer
from app.trainer.pinned.downloads import Downloads
from tests.support.network.model_hub import (
    COMMIT,
    ModelHub,
    ask,
    https_files,
    running_hub,
    sha256,
)
from tests.support.training.published import NO_DOWNLOADS

WORDS = {"ja": 0, "nein": 1, "<|endoftext|>": 2}


def content() -> bytes:
    model: Any = tokenizers.models.WordLevel(WORDS, unk_token="nein")
    return tokenizers.Tokenizer(model).to_str().encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with running_hub() as running:
        ask(running, monkeypatch)
        running.repositories["us/words"] = {"tokenizer.json": content(), "tokenizer.py": b"evil"}
        yield running


def test_one_of_the_hub_is_fetched_once(hub: ModelHub, tmp_path: Path) -> None:
    spec = HubTokenizer(kind="hub", name="us/words", revision=COMMIT)
    found = open_tokenizer(spec, Downloads(cache=tmp_path))
    assert found.vocabulary_size == 3
    assert found.separator.tolist() == [2]
    assert [each.tolist() for each in found.encode(["ja", "nein"])] == [[0], [1]]
    hub.asked.clear()
    assert open_tokenizer(spec, Downloads(cache=tmp_path)).fingerprint == found.fingerprint
    assert hub.asked == []


def test_one_behind_https_is_fetched_once(tmp_path: Path) -> None:
    with https_files({"tokenizer.json": content()}) as (url, context):
        address = f"{url}/tokenizer.json"
        spec = HttpsTokenizer(kind="https", url=address, sha256=sha256(content()))
        downloads = Downloads(cache=tmp_path, context=context)
        assert open_tokenizer(spec, downloads).vocabulary_size == 3
    assert open_tokenizer(spec, downloads).vocabulary_size == 3


def test_another_file_than_the_hash_says_is_refused(tmp_path: Path) -> None:
    with https_files({"tokenizer.json": content()}) as (url, context):
        spec = HttpsTokenizer(kind="https", url=f"{url}/tokenizer.json", sha256="0" * 64)
        with pytest.raises(DataError) as caught:
            open_tokenizer(spec, Downloads(cache=tmp_path, context=context))
    assert caught.value.field == "dataset_info.tokenizer.sha256"


def test_a_repository_without_one_is_named(hub: ModelHub, tmp_path: Path) -> None:
    hub.repositories["us/words"] = {"tokenizer.model": b"x"}
    spec = HubTokenizer(kind="hub", name="us/words", revision=COMMIT)
    with pytest.raises(DataError, match=r"has no tokenizer\.json") as caught:
        open_tokenizer(spec, Downloads(cache=tmp_path))
    assert caught.value.field == "dataset_info.tokenizer.name"


def test_a_broken_one_names_where_it_comes_from(hub: ModelHub, tmp_path: Path) -> None:
    hub.repositories["us/words"] = {"tokenizer.json": b"{}"}
    spec = HubTokenizer(kind="hub", name="us/words", revision=COMMIT)
    with pytest.raises(DataError, match=r"is no tokenizer\.json") as caught:
        open_tokenizer(spec, Downloads(cache=tmp_path))
    assert caught.value.field == "dataset_info.tokenizer.name"


def test_a_huge_one_is_not_fetched(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    spec = HubTokenizer(kind="hub", name="us/words", revision=COMMIT)
    with pytest.raises(DataError, match="at most 100 are"):
        open_tokenizer(spec, Downloads(cache=tmp_path))


def test_an_empty_slot_is_the_apps_mistake() -> None:
    with pytest.raises(ProtocolError):
        open_tokenizer(SlotTokenizer(kind="slot", label="words"), NO_DOWNLOADS)


# --- as a file


BYTES = tokenizers.Tokenizer.from_str(ByteTokens().as_file())


@given(st.text())
def test_each_byte_of_any_text_is_its_token_and_comes_back(text: str) -> None:
    tokens = BYTES.encode(text).ids
    assert tokens == ByteTokens().encode([text])[0].tolist()
    assert BYTES.decode(tokens, skip_special_tokens=False) == text


def test_each_byte_has_a_token() -> None:
    assert sorted(BYTES.get_vocab(with_added_tokens=True).values()) == list(range(256))
    for byte in range(128):
        assert BYTES.decode([byte], skip_special_tokens=False) == chr(byte)


@pytest.mark.parametrize("tokens", [[0xC3], [0x28, 0xFF], [*"é".encode()][:1]])
def test_bytes_that_are_no_text_do_no_harm(tokens: list[int]) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in BYTES.decode(tokens, skip_special_tokens=False)
