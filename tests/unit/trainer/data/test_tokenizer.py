"""The file of a tokenizer: by itself it gives the tokens of the training, and their text again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from app.trainer.data.tokenizer import ByteTokens

BYTES = Tokenizer.from_str(ByteTokens().as_file())


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
