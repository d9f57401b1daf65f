"""The library's config of a model, with all checked that the library itself doesn't check."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.common.errors import SpecError
from app.common.i18n import _
from app.spec.schema import SwarmSpec

# transformers is imported late: `precision` and its tests don't need the seconds that it takes,
# half of them for torch._dynamo.

_MAX_LAYERS = 1000
_MAX_NUMBER = 2**24
"""The largest numbers in a spec: the library makes lists and layers of any length before it checks
them."""

_LAYERS = ("num_hidden_layers", "num_layers", "n_layer")
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_UNDECLARED = {"qwen3_moe": ("head_dim",)}
"""Fields that models read, but their config classes don't declare."""

_ROPE = ("rope_theta", "rope_scaling", "partial_rotary_factor")
"""No fields of config classes any more, but those with ``rope_parameters`` still accept them."""


def config_of(
    spec: SwarmSpec, *, vocabulary_size: int, published: Mapping[str, Any] | None = None
) -> Any:
    """The config of transformers for a spec's model.

    published: the ``config.json`` of the weights to begin with; None without any.

    Raises `SpecError`.
    """
    from transformers import CONFIG_MAPPING

    kind: Any = CONFIG_MAPPING[spec.model.model_type]
    fields = spec.model.fields
    _check_names(fields, kind=kind)
    _check_numbers(fields, where="model_config")
    _check_attention_types(fields)
    if published is not None:
        fields = _agreed(fields, published, kind=kind)
    # The default special tokens are those of published checkpoints and mean nothing in our
    # vocabulary, and the embedding of a padding token never learns. So there are none unless the
    # spec names them.
    defaults = {"vocab_size": vocabulary_size, **dict.fromkeys(_SPECIAL_TOKENS)}
    with refusals():
        config = kind(**{**defaults, **fields}, use_cache=False)
    _check_vocabulary(config, vocabulary_size=vocabulary_size)
    _check_positions(config, sequence_length=spec.training.sequence_length)
    return config


def _agreed(fields: dict[str, Any], published: Mapping[str, Any], *, kind: Any) -> dict[str, Any]:
    """The fields of published weights, which the spec may repeat but not contradict: another
    number of heads would make nonsense of the same weights. Dropout is training's own.

    The token that fills up samples is left out: its embedding would not learn.
    """
    if published.get("model_type") != kind.model_type:
        raise SpecError(
            _("the model type is {said}, but the weights are of the type {found}.").format(
                said=kind.model_type, found=repr(published.get("model_type"))[:80]
            ),
            field="model_config.model_type",
            remedy=_("Name the model type that their config.json has."),
        )
    names = set(_names_of(kind)) - {"pad_token_id", "use_cache"}
    known = {name: value for name, value in published.items() if name in names}
    _check_numbers(known, where="pretrained")
    _check_attention_types(known)
    merged = known | _renamed(fields, kind=kind)
    with refusals("pretrained"):
        theirs = kind(**known)
    with refusals():
        both = kind(**merged)
    for name in sorted(names - set(kind.attribute_map) - set(_ROPE)):
        said, found = getattr(both, name, None), getattr(theirs, name, None)
        if said != found and "drop" not in name:
            raise SpecError(
                _("{name} is {said}, but the weights have {found}.").format(
                    name=name, said=repr(said)[:80], found=repr(found)[:80]
                ),
                field=f"model_config.{name}",
                remedy=_("Leave it out, or copy it from the config.json of the weights."),
            )
    return merged


def _renamed(fields: dict[str, Any], *, kind: Any) -> dict[str, Any]:
    """Under the model type's own names."""
    return {kind.attribute_map.get(name, name): value for name, value in fields.items()}


def _check_names(fields: dict[str, Any], *, kind: Any) -> None:
    """Refuse unknown fields: the library ignores them, and would train another model."""
    known = _names_of(kind)
    for name in fields:
        if name not in known:
            remedy = _("It has: {names}.").format(names=", ".join(known))
            for near in difflib.get_close_matches(name, known, n=1):
                remedy = _("Did you mean {name}?").format(name=near)
            raise SpecError(
                _("{model_type} has no such field.").format(model_type=kind.model_type),
                field=f"model_config.{name}",
                remedy=remedy,
            )


def _names_of(kind: Any) -> list[str]:
    """The fields that a config class adds to the common ones, and their aliases."""
    from transformers import PretrainedConfig

    common = {field.name for field in dataclasses.fields(PretrainedConfig)} | {"use_cache"}
    own = {field.name for field in dataclasses.fields(kind)} - common
    rope = _ROPE if "rope_parameters" in own else ()
    return sorted(own.union(kind.attribute_map, rope, _UNDECLARED.get(kind.model_type, ())))


def _check_numbers(value: Any, *, where: str) -> None:
    """Refuse numbers with which the library would run for hours or fill the memory."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, where=f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, where=where)
    elif isinstance(value, int):
        limit = _MAX_LAYERS if where.endswith(_LAYERS) else _MAX_NUMBER
        if value > limit:
            remedy = _("At most {limit:,} is allowed.").format(limit=limit)
            raise SpecError(_("is {value:,}.").format(value=value), field=where, remedy=remedy)


def _check_attention_types(fields: dict[str, Any]) -> None:
    """Refuse the lists that gpt_neo repeats, ``[[names], times]``, where they get too long.

    A wrong form is left to the library, which refuses it.
    """
    layers = 0
    value = fields.get("attention_types")
    for group in value if isinstance(value, list) else ():
        match group:
            case [list() | str() | dict() as names, int(times), *_rest]:  # all that it repeats
                layers += len(names) * times
    if layers > _MAX_LAYERS:
        raise SpecError(
            _("these types of attention make {layers:,} layers.").format(layers=layers),
            field="model_config.attention_types",
            remedy=_("At most {limit:,} is allowed.").format(limit=_MAX_LAYERS),
        )


def _check_vocabulary(config: Any, *, vocabulary_size: int) -> None:
    if config.vocab_size < vocabulary_size:
        message = _("the vocabulary has {size:,} tokens, but the tokenizer has {tokens:,}.")
        remedy = _("Make it at least {tokens:,}, or leave it out.")
        raise SpecError(
            message.format(size=config.vocab_size, tokens=vocabulary_size),
            field="model_config.vocab_size",
            remedy=remedy.format(tokens=vocabulary_size),
        )
    for name in _SPECIAL_TOKENS:
        token = getattr(config, name)
        if isinstance(token, int) and not 0 <= token < config.vocab_size:
            message = _(
                "the special token {name} is {token:,}, outside the vocabulary of {size:,} tokens."
            )
            raise SpecError(
                message.format(name=name, token=token, size=config.vocab_size),
                field=f"model_config.{name}",
                remedy=_("Leave it out."),
            )


def _check_positions(config: Any, *, sequence_length: int) -> None:
    positions = config.max_position_embeddings
    if sequence_length > positions:
        name = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
        message = _("a sample has {length:,} tokens, but the model has {positions:,} positions.")
        remedy = _("Shorten the samples to {positions:,}, or raise {field}.")
        raise SpecError(
            message.format(length=sequence_length, positions=positions),
            field="training_params.sequence_length",
            remedy=remedy.format(positions=positions, field=f"model_config.{name}"),
        )


@contextmanager
def refusals(field: str = "model_config") -> Iterator[None]:
    """Raise `SpecError` in place of what the library raises for a wrong config.

    field: the part of the spec that is wrong.

    It has no error class of its own: a wrong value fails in a validator, a division or a look-up.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        StrictDataclassError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        message = _("the library refuses it: {reason}")
        raise SpecError(
            message.format(reason=f"{type(error).__name__}: {reason[:400]}"),
            field=field,
            remedy=_(
                "(Sizes and numbers of heads must fit each other; what the spec leaves out has this"
                " model type's default.)"
            ),
        ) from error
