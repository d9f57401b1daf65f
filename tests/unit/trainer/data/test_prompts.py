"""Prompts become tokens, and a tokenizer made to fill the memory is refused before it can."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from app.common.errors import DataError
from app.trainer.data.prompts import encoded_prompts
from app.trainer.data.tokenizer import ByteTokens, FileTokens

WORDS = {"[UNK]": 0, "the": 1, "fox": 2, "</s>": 3}


def made(path: Path, *, decoder: decoders.Decoder | None = None, grow: str = "") -> FileTokens:
    tokenizer = tokenizers.Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder is not None:
        tokenizer.decoder = decoder
    if grow:
        tokenizer.normalizer = normalizers.Replace("x", grow)
    tokenizer.save(str(path / "tokenizer.json"))
    return FileTokens(path / "tokenizer.json", field="dataset_info.tokenizer.path")


def test_bytes_of_prompts_are_their_tokens() -> None:
    assert encoded_prompts(["def", "☃"], tokenizer=ByteTokens()) == (
        ("def", tuple(b"def")),
        ("☃", tuple("☃".encode())),
    )


def test_a_file_says_what_the_tokens_are(tmp_path: Path) -> None:
    tokenizer = made(tmp_path)
    found = encoded_prompts(["the fox", " ", "the cat"], tokenizer=tokenizer)
    # a prompt without a token begins a text
    assert found == (("the fox", (1, 2)), (" ", (3,)), ("the cat", (1, 0)))
    assert tokenizer.decode((1, 2)) == "the fox"
    assert tokenizer.byte_count(np.array([1, 2, 1])) == len("the fox the")
    assert encoded_prompts([], tokenizer=tokenizer) == ()


def test_a_token_of_megabytes_is_refused(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, decoder=decoders.Replace("e", "x" * 10_000))
    with pytest.raises(DataError, match="writes 10,002 bytes for its token 1") as caught:
        encoded_prompts(["the"], tokenizer=tokenizer)
    assert caught.value.field == "dataset_info.tokenizer"


@pytest.mark.skipif(sys.platform != "linux", reason="a child of limited memory")
def test_a_prompt_that_becomes_long_is_cut(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, grow=" the" * 10_000)
    ((_prompt, tokens),) = encoded_prompts(["x fox"], tokenizer=tokenizer)
    assert len(tokens) == 4096
    assert set(tokens) == {1}
