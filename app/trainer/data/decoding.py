"""Turn tokens back into text, one by one: a character may take several tokens."""

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tokenizers

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_CONTEXT = 8
"""Tokens before the first new one that are decoded with it: some tokenizers write the first token
of a text without its space."""


class Decoder(Protocol):
    """Gives out the text of tokens as soon as its characters are whole."""

    def add(self, token: int) -> str:
        """The characters that this token completes; "" where one is still in parts."""

    def end(self) -> str:
        """What stays of a character in parts: replacement characters, or ""."""


class ByteDecoder:
    """Tokens that are bytes of UTF-8. What is no UTF-8 becomes replacement characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """The characters that this byte completes."""
        return self._decoder.decode(bytes((token,)))

    def end(self) -> str:
        """A replacement character for a character in parts."""
        return self._decoder.decode(b"", final=True)


class TokenDecoder:
    """Tokens of the ``tokenizers`` library. before: the tokens that come before."""

    def __init__(self, tokenizer: "tokenizers.Tokenizer", before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._given = list(before)[-_CONTEXT:]
        self._waiting: list[int] = []

    def add(self, token: int) -> str:
        """The characters that this token completes."""
        self._waiting.append(token)
        text = self._new_text()
        if text.endswith(_UNKNOWN) and len(self._waiting) < _CONTEXT:
            return ""
        self._given = (self._given + self._waiting)[-_CONTEXT:]
        self._waiting = []
        return text

    def end(self) -> str:
        """The text of what waits."""
        return self._new_text()

    def _new_text(self) -> str:
        before = self._text(self._given)
        return self._text(self._given + self._waiting)[len(before) :]

    def _text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)
