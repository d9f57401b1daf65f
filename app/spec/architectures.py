"""Sizes and parameter counts of the models that a spec may ask for.

So that a preview needs neither `transformers` nor torch. Tests compare every number with the
library's own models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _
from app.spec.families import FAMILIES, Experts, Family
from app.spec.training import AdapterSpec

BYTES_VOCABULARY = 256
"""Vocabulary of the tokenizer whose tokens are bytes."""


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

    experts: Experts | None
    """Instead of the feed-forward part in some layers or all."""

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
    experts = _experts(family, fields) if family.experts is not None else None
    return Sizes(**found, key_heads=shared, head_dim=dim, experts=experts)


def _experts(family: Family, fields: Mapping[str, Any]) -> Experts:
    default = family.experts
    assert default is not None
    alias = fields.get("num_local_experts", default.count)
    return Experts(
        count=_number("num_experts", fields, alias),
        width=_number("moe_intermediate_size", fields, default.width),
        chosen=_number("num_experts_per_tok", fields, default.chosen),
    )


def unsaid(model_type: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the config fields that say a model's size, but aren't among these."""
    family = FAMILIES[model_type]
    # a feed-forward part without a default is as wide as the rest of the model says
    sizes = _SIZES[:4] if family.defaults[3] else _SIZES[:3]
    names = [
        getattr(family, size)
        for size in sizes
        if not {getattr(family, size), _ALIASES[size]} & fields.keys()
    ]
    return (*names, *(() if "vocab_size" in fields else ("vocab_size",)))


_OTHER_SIZES = (
    *("vocab_size", "num_key_value_heads", "head_dim", "tie_word_embeddings"),
    *("attention_bias", "mlp_bias", "enable_bias", "qk_layernorm"),
    *("word_embed_proj_dim", "do_layer_norm_before", "layer_norm_elementwise_affine"),
    *("num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size"),
    *("mlp_only_layers", "decoder_sparse_step"),
)
"""Config fields on which the number of parameters depends, beside a type's own names of sizes."""


def said_sizes(model_type: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Of all fields of a config, those that say how large its model is."""
    family = FAMILIES[model_type]
    own = [getattr(family, size) for size in _SIZES[:5]]
    return {
        name: config[name]
        for name in (*own, *_ALIASES.values(), *_OTHER_SIZES)
        if config.get(name) is not None
    }


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
            _("the model's {name} is {value}, which is no size.").format(
                name=name, value=repr(value)[:80]
            ),
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
        + _expert_layers(fields, sizes) * _experts_more(family, fields, sizes)
        + _last_norm(family, fields, sizes)
        + heads
        + (sizes.vocabulary if family.head_bias else 0)
    )


def adapter_count(model_type: str, sizes: Sizes, adapters: AdapterSpec) -> int:
    """The number of parameters of a model's adapters."""
    queries, keys = sizes.heads * sizes.head_dim, sizes.key_heads * sizes.head_dim
    length = {
        "width": sizes.width,
        "feed_forward": sizes.feed_forward,
        "two_feed_forwards": 2 * sizes.feed_forward,
        "queries": queries,
        "keys": keys,
        "queries_keys_values": queries + 2 * keys,
    }
    matrices = FAMILIES[model_type].matrices
    pairs = [pair for name in adapters.targets or matrices for pair in matrices[name]]
    return sizes.layers * adapters.rank * sum(length[inputs] + length[out] for inputs, out in pairs)


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


def _expert_layers(fields: Mapping[str, Any], sizes: Sizes) -> int:
    """How many layers have experts."""
    if sizes.experts is None:
        return 0
    without, step = fields.get("mlp_only_layers") or (), fields.get("decoder_sparse_step", 1)
    if not isinstance(without, list | tuple) or not isinstance(step, int) or step < 1:
        return sizes.layers  # the library refuses it
    return sum(n not in without and (n + 1) % step == 0 for n in range(min(sizes.layers, 10**4)))


def _experts_more(family: Family, fields: Mapping[str, Any], sizes: Sizes) -> int:
    """By how much a layer with experts is larger than one without."""
    experts = sizes.experts
    if experts is None:
        return 0
    each = 3 * sizes.width * experts.width
    return experts.count * (each + sizes.width) - _feed_forward(family, fields, sizes)


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
    rest = _dependent_fields(model_type, family, layers=layers, width=width, heads=heads)
    return named | rest | _experts_of(family, feed_forward)


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
        case "granite":  # as other types scale attention
            return {"attention_multiplier": (width // heads) ** -0.5}
        case _:
            return _heads(family, width=width, heads=heads)


def _heads(family: Family, *, width: int, heads: int) -> dict[str, Any]:
    """As many heads of keys as of queries, and no wider than the model."""
    found: dict[str, Any] = {"num_key_value_heads": heads} if family.key_heads else {}
    if family.head_dim:
        found["head_dim"] = width // heads
    if family.scaled_queries:
        found["query_pre_attn_scalar"] = width // heads
    return found


def _experts_of(family: Family, feed_forward: int) -> dict[str, Any]:
    """A few experts, of which a token takes two that are as wide as the feed-forward part."""
    if family.experts is None:
        return {}
    width = max(1, feed_forward // 2)
    return {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": width}
