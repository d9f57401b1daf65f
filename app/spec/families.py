"""How the models of each type are built, which a spec may ask for.

A short summary of the model classes of `transformers`. Tests compare it with the library's own
models.
"""

from dataclasses import dataclass, field

Matrices = dict[str, tuple[tuple[str, str], ...]]
"""Of a block, by the name of their module: inputs and outputs of each matrix of that name, as names
of sizes (`app.spec.architectures.adapter_count`)."""


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A feed-forward part of which each token takes a few of many."""

    count: int
    width: int
    """Inner width of each."""

    chosen: int
    """That a token takes."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How models of one type are built.

    The first five fields are the type's names of its config fields. A spec may use the common name
    instead, which all types accept (``hidden_size`` for ``n_embd``).
    """

    layers: str = "num_hidden_layers"
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    feed_forward: str = "intermediate_size"
    positions: str = "max_position_embeddings"
    defaults: tuple[int, int, int, int, int, int]
    """The library's defaults of these five, then of the vocabulary. A feed_forward of 0 means
    4 × width."""

    learned_positions: int | None = None
    """Rows of the position table beyond ``positions``; None for rotary positions."""

    norm: int = 1
    """Vectors of ``width`` parameters in one normalisation: weight, or weight and bias."""

    norms: tuple[int, int] = (2, 1)
    """Normalisations in a block, and after the last block."""

    qkv_bias: bool | str = True
    """The query, key and value projections have biases: True, False, or the config field to ask."""

    output_bias: bool | str = True
    """The attention's output projection has a bias: True, False, or the config field to ask."""

    biased: bool = False
    """Default of the config fields that ``qkv_bias`` and ``output_bias`` name."""

    query_norm: str = ""
    """Normalisation of queries and keys: over each ``head``, over the whole ``width``, or none."""

    gated: bool = True
    """The feed-forward part has three matrices without biases, instead of two with biases."""

    tied: bool = False
    """The output head shares the embedding's matrix, unless ``tie_word_embeddings`` says no."""

    head_bias: bool = False
    """The output head has a bias."""

    head_dim: int = 0
    """Default width of an attention head; 0 for width / heads."""

    scaled_queries: bool = False
    """Attention is scaled by a config field instead of by ``head_dim``."""

    soft_cap: bool = False
    """The logits are capped unless the config says no."""

    key_heads: int = 0
    """Default number of key and value heads; 0 for as many as query heads."""

    experts: Experts | None = None
    """The defaults, for a type that has them."""

    matrices: Matrices = field(default_factory=lambda: {**_ATTENTION, **_GATED})
    """Those that may get adapters."""

    saved: tuple[int, int, int, int]
    """Bytes that a block saves for the backward pass for each token: per unit of width and per unit
    of feed_forward in float32, then both under autocast."""

    saved_scores: int = 0
    """Bytes saved for each pair of tokens and each head, if attention saves its score matrix."""


_GATED: Matrices = {
    "gate_proj": (("width", "feed_forward"),),
    "up_proj": (("width", "feed_forward"),),
    "down_proj": (("feed_forward", "width"),),
}
_QUERIES_KEYS_VALUES: Matrices = {
    "q_proj": (("width", "queries"),),
    "k_proj": (("width", "keys"),),
    "v_proj": (("width", "keys"),),
}
_ATTENTION: Matrices = {**_QUERIES_KEYS_VALUES, "o_proj": (("queries", "width"),)}
_TWO_LAYERS: Matrices = {
    "fc1": (("width", "feed_forward"),),
    "fc2": (("feed_forward", "width"),),
}

FAMILIES: dict[str, Family] = {
    "gemma2": Family(
        defaults=(26, 2304, 8, 9216, 8192, 256_000),
        norms=(4, 1),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        tied=True,
        key_heads=4,
        head_dim=256,
        scaled_queries=True,
        soft_cap=True,
        saved=(62, 16, 52, 8),
        saved_scores=8,
    ),
    "gemma3_text": Family(
        defaults=(26, 2304, 8, 9216, 131_072, 262_208),
        norms=(4, 1),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        query_norm="head",
        tied=True,
        key_heads=4,
        head_dim=256,
        scaled_queries=True,
        saved=(76, 16, 68, 8),
    ),
    "gpt2": Family(
        layers="n_layer",
        width="n_embd",
        heads="n_head",
        feed_forward="n_inner",
        positions="n_positions",
        defaults=(12, 768, 12, 0, 1024, 50257),
        learned_positions=0,
        norm=2,
        gated=False,
        tied=True,
        matrices={
            "c_attn": (("width", "queries_keys_values"),),
            "c_proj": (("width", "width"), ("feed_forward", "width")),
            "c_fc": (("width", "feed_forward"),),
        },
        saved=(40, 20, 30, 10),
    ),
    "gpt_neo": Family(
        layers="num_layers",
        heads="num_heads",
        defaults=(24, 2048, 16, 0, 2048, 50257),
        learned_positions=0,
        norm=2,
        qkv_bias=False,
        gated=False,
        tied=True,
        matrices={
            **_QUERIES_KEYS_VALUES,
            "out_proj": (("width", "width"),),
            "c_fc": (("width", "feed_forward"),),
            "c_proj": (("feed_forward", "width"),),
        },
        saved=(32, 20, 24, 10),
        saved_scores=6,
    ),
    "gpt_neox": Family(
        defaults=(44, 6144, 64, 24576, 2048, 50432),
        norm=2,
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        biased=True,
        gated=False,
        matrices={
            "query_key_value": (("width", "queries_keys_values"),),
            "dense": (("width", "width"),),
            "dense_h_to_4h": (("width", "feed_forward"),),
            "dense_4h_to_h": (("feed_forward", "width"),),
        },
        saved=(40, 8, 22, 4),
    ),
    "granite": Family(
        defaults=(32, 4096, 32, 11008, 2048, 32000),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        saved=(40, 16, 34, 8),
    ),
    "llama": Family(
        defaults=(32, 4096, 32, 11008, 2048, 32000),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        saved=(40, 16, 34, 8),
    ),
    "mistral": Family(
        defaults=(32, 4096, 32, 14336, 131_072, 32000),
        qkv_bias=False,
        output_bias=False,
        key_heads=8,
        saved=(40, 16, 34, 8),
    ),
    "olmo2": Family(
        defaults=(32, 4096, 32, 11008, 2048, 50304),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        query_norm="width",
        saved=(56, 16, 50, 8),
    ),
    "olmo3": Family(
        defaults=(32, 4096, 32, 11008, 2048, 50304),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        query_norm="width",
        saved=(56, 16, 50, 8),
    ),
    "opt": Family(
        feed_forward="ffn_dim",
        defaults=(12, 768, 12, 3072, 2048, 50272),
        learned_positions=2,
        norm=2,
        qkv_bias="enable_bias",
        output_bias="enable_bias",
        biased=True,
        gated=False,
        tied=True,
        matrices={**_QUERIES_KEYS_VALUES, "out_proj": (("width", "width"),), **_TWO_LAYERS},
        saved=(40, 4, 28, 2),
    ),
    "phi": Family(
        defaults=(24, 2048, 32, 8192, 2048, 51200),
        norm=2,
        norms=(1, 1),
        gated=False,
        head_bias=True,
        matrices={**_QUERIES_KEYS_VALUES, "dense": (("queries", "width"),), **_TWO_LAYERS},
        saved=(28, 20, 22, 10),
    ),
    "phi3": Family(
        defaults=(32, 3072, 32, 8192, 4096, 32064),
        qkv_bias=False,
        output_bias=False,
        matrices={
            "qkv_proj": (("width", "queries_keys_values"),),
            "o_proj": (("queries", "width"),),
            "gate_up_proj": (("width", "two_feed_forwards"),),
            "down_proj": (("feed_forward", "width"),),
        },
        saved=(52, 16, 36, 8),
    ),
    "qwen2": Family(
        defaults=(32, 4096, 32, 22016, 32768, 151_936),
        output_bias=False,
        key_heads=32,
        saved=(40, 16, 34, 8),
    ),
    "qwen3": Family(
        defaults=(32, 4096, 32, 22016, 32768, 151_936),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        query_norm="head",
        key_heads=32,
        head_dim=128,
        saved=(56, 16, 46, 8),
    ),
    "qwen3_moe": Family(
        defaults=(24, 2048, 32, 6144, 32768, 151_936),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        query_norm="head",
        key_heads=4,
        experts=Experts(count=128, width=768, chosen=8),
        matrices=_ATTENTION,
        saved=(70, 16, 50, 8),
    ),
    "smollm3": Family(
        defaults=(36, 2048, 16, 11008, 32768, 128_256),
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        tied=True,
        key_heads=4,
        saved=(40, 16, 34, 8),
    ),
}
