"""The model types that a spec may ask for: sizes, parameter counts and memory for activations.

A short summary of the model classes of `transformers`, so that a preview needs neither that library
nor torch. Tests compare every number here with the library's own models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _

BYTES_VOCABULARY = 256
"""Vocabulary of the tokenizer whose tokens are bytes."""


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

    key_heads: int = 0
    """Default number of key and value heads; 0 for as many as query heads."""

    saved: tuple[int, int, int, int]
    """Bytes that a block saves for the backward pass for each token: per unit of width and per unit
    of feed_forward in float32, then both under autocast."""

    saved_scores: int = 0
    """Bytes saved for each pair of tokens and each head, if attention saves its score matrix."""


FAMILIES: dict[str, Family] = {
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
        saved=(40, 8, 22, 4),
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
        saved=(40, 4, 28, 2),
    ),
    "phi": Family(
        defaults=(24, 2048, 32, 8192, 2048, 51200),
        norm=2,
        norms=(1, 1),
        gated=False,
        head_bias=True,
        saved=(28, 20, 22, 10),
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
}

_ALIASES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "positions": "max_position_embeddings",
}
_SIZES = ("layers", "width", "heads", "feed_forward", "positions", "vocabulary")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one model, from its config and its type's defaults."""

    layers: int
    width: int
    """Of the residual stream."""

    heads: int
    key_heads: int
    """Heads of keys and values; fewer than ``heads`` when several query heads share one."""

    head_dim: int
    feed_forward: int
    """Inner width of the feed-forward part."""

    positions: int
    """Longest sequence, in tokens."""

    vocabulary: int
    """Tokens: the config's number, or else the tokenizer's."""


def sizes_of(model_type: str, fields: Mapping[str, Any], *, vocabulary: int | None) -> Sizes:
    """The sizes of a model with these config fields.

    vocabulary: the tokenizer's; None, when unknown, means the model type's default. Raises
    `SpecError` for a size that isn't a whole number above 0.
    """
    family = FAMILIES[model_type]
    found = {
        name: _size(family, name, fields, default)
        for name, default in zip(_SIZES, family.defaults, strict=True)
    }
    if vocabulary is not None and "vocab_size" not in fields:
        found["vocabulary"] = vocabulary
    found["feed_forward"] = found["feed_forward"] or 4 * found["width"]
    heads = found["heads"]
    shared = _number("num_key_value_heads", fields, family.key_heads) or heads
    dim = _number("head_dim", fields, family.head_dim) or found["width"] // heads
    return Sizes(**found, key_heads=shared, head_dim=dim)


def _size(family: Family, name: str, fields: Mapping[str, Any], default: int) -> int:
    if name == "vocabulary":
        return _number("vocab_size", fields, default)
    own, alias = getattr(family, name), _ALIASES[name]
    return _number(own if own in fields else alias, fields, default)


def _number(name: str, fields: Mapping[str, Any], default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**31:
        raise SpecError(
            _("is {value}, which is no size.").format(value=repr(value)[:80]),
            field=f"model_config.{name}",
            remedy=_("Give a whole number above 0."),
        )
    return value


def parameter_count(model_type: str, fields: Mapping[str, Any], sizes: Sizes) -> int:
    """The number of parameters of a model with these fields; shared ones count once."""
    family = FAMILIES[model_type]
    embedding = _embedding_width(model_type, fields, sizes)
    tied = _flag("tie_word_embeddings", fields, family.tied)
    heads = 0 if tied else sizes.vocabulary * embedding
    return (
        sizes.vocabulary * embedding
        + (2 * sizes.width * embedding if embedding != sizes.width else 0)
        + _positions(family, sizes)
        + sizes.layers * _block(family, fields, sizes)
        + _last_norm(family, fields, sizes)
        + heads
        + (sizes.vocabulary if family.head_bias else 0)
    )


def _flag(name: bool | str, fields: Mapping[str, Any], default: bool) -> bool:
    return bool(fields.get(name, default)) if isinstance(name, str) else name


def _embedding_width(model_type: str, fields: Mapping[str, Any], sizes: Sizes) -> int:
    """The embedding's width. Only OPT may have one that differs from the blocks' width."""
    return _number("word_embed_proj_dim", fields, 768) if model_type == "opt" else sizes.width


def _positions(family: Family, sizes: Sizes) -> int:
    if family.learned_positions is None:
        return 0
    return (sizes.positions + family.learned_positions) * sizes.width


def _norm(family: Family, fields: Mapping[str, Any], width: int) -> int:
    return family.norm * width if fields.get("layer_norm_elementwise_affine", True) else 0


def _last_norm(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    if fields.get("_remove_final_layer_norm") or not fields.get("do_layer_norm_before", True):
        return 0
    return family.norms[1] * _norm(family, fields, sizes.width)


def _block(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    return (
        _attention(family, fields, sizes)
        + _query_norms(family, fields, sizes)
        + _feed_forward(family, fields, sizes)
        + family.norms[0] * _norm(family, fields, sizes.width)
    )


def _attention(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    queries, keys = sizes.heads * sizes.head_dim, sizes.key_heads * sizes.head_dim
    matrices = 2 * sizes.width * (queries + keys)
    biases = 0
    if _flag(family.qkv_bias, fields, family.biased):
        biases += queries + 2 * keys
    if _flag(family.output_bias, fields, family.biased):
        biases += sizes.width
    return matrices + biases


def _query_norms(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    if family.query_norm == "head":
        return 2 * sizes.head_dim
    if family.query_norm == "width":
        return (sizes.heads + sizes.key_heads) * sizes.head_dim
    return 2 * family.norm * sizes.head_dim if fields.get("qk_layernorm") else 0


def _feed_forward(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    matrix = sizes.width * sizes.feed_forward
    if family.gated:
        biases = 2 * sizes.feed_forward + sizes.width if fields.get("mlp_bias") else 0
        return 3 * matrix + biases
    biased = _flag("enable_bias", fields, True)
    return 2 * matrix + (sizes.feed_forward + sizes.width if biased else 0)


# --- from sizes to config fields


def fields_for(
    model_type: str, *, layers: int, width: int, heads: int, feed_forward: int, positions: int
) -> dict[str, Any]:
    """The config fields for a model of these sizes, without the model type's large defaults.

    Raises `SpecError` when the width can't be divided among the heads.
    """
    family = FAMILIES[model_type]
    if heads < 1 or width % heads:
        raise SpecError(
            _("{heads} heads can't share a width of {width} evenly.").format(
                heads=heads, width=width
            ),
            field="model_config.heads",
            remedy=_("Choose a number that divides the width."),
        )
    values = (layers, width, heads, feed_forward, positions)
    named = {getattr(family, size): value for size, value in zip(_SIZES, values, strict=False)}
    return named | _dependent_fields(model_type, family, layers=layers, width=width, heads=heads)


def _dependent_fields(
    model_type: str, family: Family, *, layers: int, width: int, heads: int
) -> dict[str, Any]:
    """Fields that depend on the sizes; and no dropout, since all data is seen only once."""
    match model_type:
        case "gpt2":
            return dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        case "gpt_neo":
            return {"attention_types": [[["global"], layers]]}
        case "opt":
            return {"word_embed_proj_dim": width, "dropout": 0.0}
        case _:
            rest = {"num_key_value_heads": heads} if family.key_heads else {}
            return rest | ({"head_dim": width // heads} if family.head_dim else {})
