"""GPT-2 and Llama as one would write them by hand for speed, after the pattern of nanoGPT.

Plain modules, PyTorch's own attention, a vocabulary padded to a multiple of 64, and the loss inside
of the forward pass, so that it is compiled with the model. What is padded takes part in the
softmax, as in nanoGPT. `tests/bench/test_gpu.py` holds both against those of transformers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

MULTIPLE = 64


@dataclass(frozen=True, kw_only=True)
class NanoSizes:
    """How large a model is."""

    vocabulary: int
    length: int
    """Tokens of a sample."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    """As many as ``heads`` in GPT-2."""

    feed_forward: int

    @property
    def padded(self) -> int:
        """The vocabulary, padded."""
        return -(-self.vocabulary // MULTIPLE) * MULTIPLE

    @property
    def head(self) -> int:
        """The width of a head."""
        return self.width // self.heads


def attend(qkv: Tensor, sizes: NanoSizes, rotary: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Causal attention. qkv: [samples, length, (heads + 2 key_value_heads) * head]."""
    samples, length, _ = qkv.shape
    counts = (sizes.heads, sizes.key_value_heads, sizes.key_value_heads)
    parts = qkv.split([each * sizes.head for each in counts], dim=2)
    q, k, v = (each.view(samples, length, -1, sizes.head).transpose(1, 2) for each in parts)
    if rotary is not None:
        q, k = rotated(q, *rotary), rotated(k, *rotary)
    grouped = sizes.heads != sizes.key_value_heads
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    return mixed.transpose(1, 2).reshape(samples, length, sizes.width)


def rotated(each: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys, turned by their position. cos, sin: [length, head]."""
    first, second = each.chunk(2, dim=-1)
    return each * cos + torch.cat((-second, first), dim=-1) * sin


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean per token, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def initialize(module: nn.Module) -> None:
    """Weights as GPT-2 has them, but for the smaller ones of its residual projections."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Gpt2Block(nn.Module):
    """Attention, then a feed-forward part with GELU."""

    def __init__(self, sizes: NanoSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.before_attention = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.attended = nn.Linear(sizes.width, sizes.width)
        self.before_feed_forward = nn.LayerNorm(sizes.width)
        self.up = nn.Linear(sizes.width, sizes.feed_forward)
        self.down = nn.Linear(sizes.feed_forward, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attended(attend(self.qkv(self.before_attention(x)), self.sizes))
        return x + self.down(F.gelu(self.up(self.before_feed_forward(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """Learnt positions; the embedding is the output layer too."""

    def __init__(self, sizes: NanoSizes) -> None:
        super().__init__()
        self.tokens = nn.Embedding(sizes.padded, sizes.width)
        self.positions = nn.Embedding(sizes.length, sizes.width)
        self.blocks = nn.ModuleList(Gpt2Block(sizes) for _ in range(sizes.layers))
        self.last = nn.LayerNorm(sizes.width)
        self.apply(initialize)

    def forward(self, tokens: Tensor) -> Tensor:
        """The loss. tokens: int64, [samples, length + 1]."""
        inputs = tokens[:, :-1]
        x = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        return cross_entropy(F.linear(self.last(x), self.tokens.weight), tokens[:, 1:])


class LlamaBlock(nn.Module):
    """Attention with rotary positions, then a feed-forward part with SwiGLU; no biases."""

    def __init__(self, sizes: NanoSizes) -> None:
        super().__init__()
        self.sizes = sizes
        with_keys_and_values = (sizes.heads + 2 * sizes.key_value_heads) * sizes.head
        self.before_attention = nn.RMSNorm(sizes.width, eps=1e-6)
        self.qkv = nn.Linear(sizes.width, with_keys_and_values, bias=False)
        self.attended = nn.Linear(sizes.width, sizes.width, bias=False)
        self.before_feed_forward = nn.RMSNorm(sizes.width, eps=1e-6)
        self.gate = nn.Linear(sizes.width, sizes.feed_forward, bias=False)
        self.up = nn.Linear(sizes.width, sizes.feed_forward, bias=False)
        self.down = nn.Linear(sizes.feed_forward, sizes.width, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attended(attend(self.qkv(self.before_attention(x)), self.sizes, rotary))
        between = self.before_feed_forward(x)
        return x + self.down(F.silu(self.gate(between)) * self.up(between))


class Llama(nn.Module):
    """An output layer of its own."""

    def __init__(self, sizes: NanoSizes) -> None:
        super().__init__()
        self.tokens = nn.Embedding(sizes.padded, sizes.width)
        self.blocks = nn.ModuleList(LlamaBlock(sizes) for _ in range(sizes.layers))
        self.last = nn.RMSNorm(sizes.width, eps=1e-6)
        self.output = nn.Linear(sizes.width, sizes.padded, bias=False)
        turns = 10_000.0 ** -(torch.arange(0, sizes.head, 2).repeat(2) / sizes.head)
        angles = torch.arange(sizes.length)[:, None] * turns
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.apply(initialize)

    def forward(self, tokens: Tensor) -> Tensor:
        """The loss. tokens: int64, [samples, length + 1]."""
        inputs = tokens[:, :-1]
        x, length = self.tokens(inputs), inputs.shape[1]
        for block in self.blocks:
            x = block(x, (self.cos[:length], self.sin[:length]))
        return cross_entropy(self.output(self.last(x)), tokens[:, 1:])
