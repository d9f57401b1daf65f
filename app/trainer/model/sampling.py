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
    """The tokens that follow ``tokens``, until the model's figures aren't finite.

    model: one of ``transformers``, with or without adapters, in evaluation mode.
    tokens: at least one.
    window: tokens that the model sees at most. When they are full, it goes on with the last half of
    them, so that each token doesn't cost a whole window.
    vocabulary_size: of the tokenizer; the model's may be larger.
    temperature: by which the scores are divided; 0 takes the likeliest token each time.
    chance: on the CPU, where the tokens are drawn, so that all devices draw the same.
    """
    from transformers import DynamicCache

    model = inside(model)
    name, config = _name_of_cache(model), cast("PretrainedConfig", model.config)
    device = next(model.parameters()).device
    seen = list(tokens)
    fresh, cache, held = seen[-window:], DynamicCache(config=config), 0
    while True:
        if held + len(fresh) > window:
            fresh, cache, held = seen[-max(1, window // 2) :], DynamicCache(config=config), 0
        with torch.no_grad():  # not inference_mode: the model may be trained further
            output: Any = model(
                input_ids=torch.tensor([fresh], device=device),
                use_cache=True,
                logits_to_keep=1,
                **{name: cache},
            )
        held += len(fresh)
        scores = output.logits[0, -1, :vocabulary_size].float().cpu()
        if not bool(torch.isfinite(scores).all()):
            return
        token = _drawn(scores, temperature, chance=chance)
        seen.append(token)
        fresh = [token]
        yield token


def _name_of_cache(model: torch.nn.Module) -> str:
    """The argument for keys and values of earlier tokens: transformers renamed it within 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _drawn(scores: torch.Tensor, temperature: float, *, chance: torch.Generator) -> int:
    """A token by its scores: float32, finite, on the CPU, of shape [vocabulary]."""
    if temperature == 0:
        return int(scores.argmax())
    shares = torch.softmax((scores - scores.max()) / temperature, dim=0)
    return int(torch.multinomial(shares, 1, generator=chance))
