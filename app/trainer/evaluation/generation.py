"""Let a model write after some prompts, with the same luck at each epoch."""

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from app.trainer.data.tokenizer import Tokenizer
from app.trainer.model.sampling import continuation

TEMPERATURE = 0.8
"""Of the samples, the same at all epochs, so that they compare."""

MOST_TOKENS = 120
"""Of a sample."""


class SampleWriter:
    """Writes a text after each of some prompts, with the same luck each time."""

    def __init__(
        self,
        prompts: Sequence[tuple[str, Sequence[int]]],
        *,
        tokenizer: Tokenizer,
        most_context: int,
        stopping: Callable[[], bool],
    ) -> None:
        """prompts: each with its tokens, at least one. stopping: give up.

        most_context: tokens that the model was trained to read at once.
        """
        self._prompts = prompts
        self._tokenizer = tokenizer
        self._most_context = most_context
        self._stopping = stopping
        separator = tokenizer.separator.tolist()
        # an end of line, where the vocabulary has no end of text, ends no sample
        self._end = separator if tokenizer.decode(separator).strip() else None

    def of(self, model: torch.nn.Module, *, seconds: float) -> Iterator[tuple[str, str]]:
        """Pairs of a prompt and what the model, in evaluation mode, writes after it.

        seconds: for all prompts together. A text is shorter where its part of them doesn't suffice.
        """
        end = time.monotonic() + seconds
        for place, (prompt, tokens) in enumerate(self._prompts):
            if self._stopping():
                return
            now = time.monotonic()
            part = max(0.0, end - now) / (len(self._prompts) - place)
            yield prompt, self._text(model, list(tokens), until=now + part)

    def _text(self, model: torch.nn.Module, given: list[int], *, until: float) -> str:
        tokenizer = self._tokenizer
        decoder, text = tokenizer.decoder(given), list[str]()
        tokens = continuation(
            model,
            given,
            window=self._most_context,
            vocabulary_size=tokenizer.vocabulary_size,
            temperature=TEMPERATURE,
            chance=torch.Generator().manual_seed(0),
        )
        for count, token in enumerate(tokens, 1):
            if [token] == self._end:
                break
            text.append(decoder.add(token))
            if count >= MOST_TOKENS or time.monotonic() > until or self._stopping():
                break
        return "".join((*text, decoder.end()))
