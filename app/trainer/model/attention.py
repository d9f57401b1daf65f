"""Attention without a mask, where each token simply looks at all before it."""

from typing import Any

import torch

from app.trainer.model.adapters import inside

CAUSAL = "causal_sdpa"
"""transformers builds no mask for an implementation that it knows no masks of."""


def attend_causally(model: torch.nn.Module, *, sequence_length: int) -> bool:
    """Let a model of ``transformers`` attend without a mask, if all of its layers look at all
    tokens before; returns whether they do.

    Only without a mask does PyTorch take its flash kernels. transformers drops a purely causal mask
    by itself, but not where `torch.compile` traces it with a PyTorch before 2.14.

    sequence_length: of all samples; no text may be longer, and none padded.
    """
    found: Any = inside(model)
    if found.config._attn_implementation != "sdpa" or _is_windowed(found.config, sequence_length):  # noqa: SLF001  it has no other name
        return False
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(CAUSAL, sdpa_attention_forward)
    found.set_attn_implementation(CAUSAL)
    return True


def _is_windowed(config: Any, length: int) -> bool:
    """Whether a layer looks at fewer tokens than a sample has."""
    window = getattr(config, "sliding_window", None)
    return window is not None and window < length
