"""Draw tokens from a model, one after another."""

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from app.trainer.model.adapters import inside

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def continuation(
    model: torch.nn.Module,
    tokens: Sequence[int],
    *,
    window: int,
    vocabulary_size: int,
    temperature: float,
    chance: torch.Generator,
) -> Iterator[int]:
    """The tokens that follow ``tokens``, without an end.

    model: one of ``transformers``, with or without adapters, in evaluation mode, on the CPU.
    tokens: at least one.
    window: tokens that the model sees at most. When they are full, it goes on with the last half of
    them, so that each token doesn't cost a whole window.
    vocabulary_size: of the tokenizer; the model's may be larger.
    temperature: by which the scores are divided; 0 takes the likeliest token each time.
    """
    from transformers import DynamicCache

    model = inside(model)
    name, config = _name_of_cache(model), cast("PretrainedConfig", model.config)
    seen = list(tokens)
    fresh, cache, held = seen[-window:], DynamicCache(config=config), 0
    while True:
        if held + len(fresh) > window:
            fresh, cache, held = seen[-max(1, window // 2) :], DynamicCache(config=config), 0
        with torch.inference_mode():
            output: Any = model(
                input_ids=torch.tensor([fresh]), use_cache=True, logits_to_keep=1, **{name: cache}
            )
        held += len(fresh)
        token = _drawn(output.logits[0, -1, :vocabulary_size], temperature, chance=chance)
        seen.append(token)
        fresh = [token]
        yield token


def _name_of_cache(model: torch.nn.Module) -> str:
    """The argument for keys and values of earlier tokens: transformers renamed it within 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _drawn(scores: torch.Tensor, temperature: float, *, chance: torch.Generator) -> int:
    """A token by its scores, of shape [vocabulary]."""
    scores = torch.nan_to_num(scores.float())
    if temperature == 0:
        return int(scores.argmax())
    shares = torch.softmax((scores - scores.max()) / temperature, dim=0)
    return int(torch.multinomial(shares, 1, generator=chance))
