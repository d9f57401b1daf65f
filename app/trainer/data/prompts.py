"""Prompts as tokens, and a tokenizer tried out: text is made of its tokens in the trainer itself.

A tokenizer can be made to write megabytes for a single token, so it is tried in a process of its
own, which may take only so much memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from app.common.errors import DataError
from app.common.i18n import _
from app.trainer.data.reader import read_apart
from app.trainer.data.tokenizer import ByteTokens, TokenArray, Tokenizer

MOST_TOKEN_BYTES = 4096
"""Of text that one token stands for; those in use have a few hundred at most."""

_MOST_PROMPT = 4096
"""Tokens of a prompt; a character has four at most, unless the tokenizer is made to harm."""

_NUMBERS = np.dtype(np.uint32)


def encoded_prompts(
    prompts: Sequence[str], *, tokenizer: Tokenizer
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Each prompt and its tokens, at least one.

    Raises `DataError` for a tokenizer that nothing can be decoded with.
    """
    if isinstance(tokenizer, ByteTokens):
        encoded = [tokens.tolist() for tokens in tokenizer.encode(prompts)]
    else:
        read = read_apart(partial(_tried, prompts, tokenizer=tokenizer), dtype=_NUMBERS)
        encoded = list(_cut(np.concatenate([*read, np.empty(0, dtype=_NUMBERS)]).tolist()))
    instead = tokenizer.separator.tolist()
    return tuple(
        (prompt, tuple(tokens or instead)) for prompt, tokens in zip(prompts, encoded, strict=True)
    )


def _tried(prompts: Sequence[str], *, tokenizer: Tokenizer) -> Iterator[TokenArray]:
    """In the child: the length of each prompt, followed by its tokens."""
    for token in range(tokenizer.vocabulary_size):
        size = len(tokenizer.decode([token]).encode("utf-8", "replace"))
        if size > MOST_TOKEN_BYTES:
            raise DataError(
                _("the tokenizer writes {size:,} bytes for its token {token:,}.").format(
                    size=size, token=token
                ),
                field="dataset_info.tokenizer",
                remedy=_("It may be made to fill the memory: ask whoever made the swarm."),
            )
    for tokens in tokenizer.encode(prompts):
        kept = tokens[-_MOST_PROMPT:]
        yield np.array([len(kept), *kept.tolist()], dtype=_NUMBERS)


def _cut(numbers: list[int]) -> Iterator[list[int]]:
    while numbers:
        end = 1 + numbers[0]
        yield numbers[1:end]
        numbers = numbers[end:]
