"""Let a model go on with a text, token by token."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch

from app.trainer.data.tokenizer import Tokenizer
from app.trainer.model.adapters import inside

TEMPERATURE = 0.8
"""Of the samples, the same at all epochs, so that they compare."""

MOST_TOKENS = 120
"""Of a sample."""


def generated(
    model: torch.nn.Module,
    tokens: Sequence[int],
    *,
    vocabulary_size: int,
    most_context: int,
    temperature: float,
    generator: torch.Generator,
) -> Iterator[int]:
    """The tokens that follow, each drawn by its probability, until the context is full.

    model: in evaluation mode. tokens: at least one; only the last ``most_context`` - 1 count.
    vocabulary_size: of the tokenizer; the model may have rows beyond it.
    most_context: tokens that the model was trained to read at once, two at least.
    temperature: above 0. generator: on the CPU.

    Ends early when the model's figures aren't finite.
    """
    model = inside(model)
    device = next(model.parameters()).device
    given = list(tokens)[1 - most_context :]
    new, seen = torch.tensor([given], device=device), _seen(model)
    for _ in range(most_context - len(given)):
        with torch.no_grad():
            out = model(input_ids=new, use_cache=True, **seen)
        logits = out.logits[0, -1, :vocabulary_size].float().cpu()
        if not bool(torch.isfinite(logits).all()):
            return
        chances = torch.softmax(logits / temperature, dim=-1)
        token = int(torch.multinomial(chances, 1, generator=generator))
        yield token
        new = torch.tensor([[token]], device=device)


def _seen(model: torch.nn.Module) -> dict[str, Any]:
    """The argument that keeps what a model has seen, so that it reads each token once."""
    from transformers import DynamicCache

    named, config = inspect.signature(model.forward).parameters, cast("Any", model.config)
    # transformers renamed it within its version 5
    return {"cache" if "cache" in named else "past_key_values": DynamicCache(config=config)}


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
        tokenizer, written = self._tokenizer, list[int]()
        for token in generated(
            model,
            given,
            vocabulary_size=tokenizer.vocabulary_size,
            most_context=self._most_context,
            temperature=TEMPERATURE,
            generator=torch.Generator().manual_seed(0),
        ):
            if [token] == self._end:
                break
            written.append(token)
            if len(written) >= MOST_TOKENS or time.monotonic() > until or self._stopping():
                break
        # not the new tokens alone: many tokenizers leave out the space before a first word
        before = tokenizer.decode(given)
        return tokenizer.decode(given + written)[len(before) :]
