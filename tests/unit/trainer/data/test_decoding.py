"""Tokens become text one by one: no character in parts is shown, and none is lost."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from app.trainer.data.decoding import ByteDecoder, Decoder, TokenDecoder

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def pieces(decoder: Decoder, tokens: list[int]) -> list[str]:
    return [*(decoder.add(token) for token in tokens), decoder.end()]


def byte_level() -> tokenizers.Tokenizer:
    """One token for each byte, as GPT-2's tokenizer without merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def words() -> tokenizers.Tokenizer:
    """Words with the sign for a space before them, as Llama's tokenizer writes them."""
    made = tokenizers.Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "c": 2}, unk_token="c"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


@given(text=st.text())
def test_bytes_of_a_text_become_the_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert "".join(pieces(ByteDecoder(), list(text.encode()))) == text


def test_a_character_comes_out_whole_with_its_last_byte() -> None:
    assert pieces(ByteDecoder(), list("é€".encode())) == ["", "é", "", "", "€", ""]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([0xFF, 0x61], UNKNOWN + "a"),
        ([0xE2, 0x82], UNKNOWN),  # the text ends within a character
        ([0xE2, 0x61], UNKNOWN + "a"),
        ([0xED, 0xA0, 0x80], UNKNOWN * 3),  # half of a pair, which UTF-8 doesn't have
    ],
)
def test_bytes_that_are_no_utf8_are_replaced(tokens: list[int], text: str) -> None:
    assert "".join(pieces(ByteDecoder(), tokens)) == text


@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_tokens_of_a_text_become_the_text(text: str) -> None:
    tokenizer = byte_level()
    shown = pieces(TokenDecoder(tokenizer, ()), tokenizer.encode(text).ids)
    assert "".join(shown) == text
    assert UNKNOWN in text or not any(UNKNOWN in piece for piece in shown)


def test_a_model_that_writes_no_text_at_all_is_shown_as_such() -> None:
    tokenizer = byte_level()
    (token,) = {tokenizer.encode("é").ids[0]}
    shown = pieces(TokenDecoder(tokenizer, ()), [token] * 50)
    assert set("".join(shown)) == {UNKNOWN}
    assert len("".join(shown)) == 50


def test_a_word_keeps_its_space_after_the_prompt() -> None:
    assert pieces(TokenDecoder(words(), [0]), [1, 2, 0]) == [" b", "c", " a", ""]


def test_unknown_tokens_have_no_text() -> None:
    assert pieces(TokenDecoder(words(), [0]), [99, 1]) == ["", " b", ""]


def test_tokens_of_a_file_are_decoded(tmp_path: Path) -> None:
    from app.trainer.data.tokenizer import FileTokens

    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(byte_level().to_str())))
    tokens = FileTokens(path, field="dataset_info.tokenizer.path")
    (encoded,) = tokens.encode(["ä€"])
    assert "".join(pieces(tokens.decoder([]), encoded.tolist())) == "ä€"
