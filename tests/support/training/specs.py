"""Specs to test with: the smallest, any valid one, any JSON at all."""

import copy
from typing import Any

from hypothesis import strategies as st

from app.spec import schema as spec
from app.spec.schema import MODEL_TYPES

PEER = "/ip4/203.0.113.7/tcp/8080/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
HASH = "0" * 64

SMALLEST: dict[str, Any] = {
    "run_id": "run",
    "model_config": {"model_type": "gpt2"},
    "training_params": {"target_batch_size": 64, "sequence_length": 32},
    "dataset_info": {"source": "builtin"},
}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 256,
}
"""A ``model_config`` of 34,976 parameters."""

BEGINS = {"source": "hub", "name": "us/model", "revision": "a" * 40}
"""Weights to begin with, as a spec names them."""


def mapping(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def numbers(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, exclude_max=True)


PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp"))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers(-1e9, 1e9) | st.text()
CONFIG_KEYS = st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z").filter(
    lambda key: key not in spec._CODE_KEYS | spec._OUR_KEYS | {"model_type"}
)
MODELS = st.builds(
    lambda model_type, fields: {**fields, "model_type": model_type},
    st.sampled_from(MODEL_TYPES),
    st.dictionaries(CONFIG_KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
)
OPTIMIZERS = mapping(
    {},
    name=st.sampled_from(["adamw", "sgd"]),
    learning_rate=numbers(1e-9, 10),
    betas=st.tuples(numbers(0, 1), numbers(0, 1)).map(list),
    weight_decay=numbers(0, 1),
    momentum=numbers(0, 1),
)
SCHEDULES = mapping(
    {"name": st.sampled_from(["constant", "linear", "cosine"])},
    warmup_epochs=st.integers(0, 99),
).flatmap(lambda chosen: st.integers(100, 200).map(lambda end: {**chosen, "total_epochs": end}))
TRAININGS = mapping(
    {"target_batch_size": st.integers(64, 10**9), "sequence_length": st.integers(1, 2**20)},
    micro_batch_size=st.just("auto") | st.integers(1, 64),
    optimizer=OPTIMIZERS,
    schedule=SCHEDULES,
    averaging=mapping({}, matchmaking_seconds=numbers(1, 30), record_seconds=numbers(5, 3600)),
    precision=st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    seed=st.integers(0, 2**63 - 1),
    evaluation=mapping(
        {},
        every_epochs=st.integers(1, 10**6),
        seconds=numbers(0.1, 60),
        share=numbers(0.001, 0.5),
        prompts=st.lists(st.text(PRINTABLE, min_size=1, max_size=200), max_size=8),
    ),
    stop=mapping(
        {},
        epochs=st.none() | st.integers(1, 10**9),
        minutes=numbers(0.1, 1e7),
        unimproved_evaluations=st.none() | st.integers(1, 10**6),
    ),
)
TOKENIZERS = st.one_of(
    st.just({"kind": "bytes"}),
    mapping({"kind": st.just("file"), "path": st.text(min_size=1)}),
    mapping({"kind": st.just("slot"), "label": st.just("words")}, sha256=st.just(HASH)),
    mapping({"kind": st.just("hub"), "name": st.just("us/words"), "revision": st.just("a" * 40)}),
    mapping(
        {
            "kind": st.just("https"),
            "url": st.just("https://example.org/tokenizer.json"),
            "sha256": st.just(HASH),
        },
        bytes=st.integers(1, 2**50),
    ),
)
MIXTURES = mapping(
    {
        "source": st.just("mixture"),
        "parts": st.lists(
            mapping(
                {
                    "weight": numbers(1e-9, 1e6),
                    "data": st.sampled_from(
                        [{"source": "builtin"}, {"source": "hub", "name": "owner/name"}]
                    ),
                }
            ),
            min_size=2,
            max_size=4,
        ),
    },
    tokenizer=TOKENIZERS,
)
HELD_OUT = st.none() | st.one_of(
    mapping({"source": st.just("hub"), "name": st.just("owner/name")}, split=st.just("test")),
    mapping(
        {
            "source": st.just("https"),
            "url": st.just("https://example.org/held-out.txt"),
            "sha256": st.just(HASH),
        }
    ),
)
DATA = st.one_of(
    MIXTURES,
    mapping({"source": st.just("builtin")}, tokenizer=TOKENIZERS),
    mapping(
        {
            "source": st.just("files"),
            "paths": st.lists(st.text(min_size=1), min_size=1, max_size=3),
        },
        format=st.sampled_from(["auto", "text", "jsonl", "parquet"]),
        tokenizer=TOKENIZERS,
    ),
    mapping(
        {
            "source": st.just("https"),
            "url": st.just("https://example.org/a.txt"),
            "sha256": st.just(HASH),
        },
        text_field=st.text(),
        held_out=HELD_OUT,
    ),
    mapping(
        {"source": st.just("slot"), "label": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,3}\Z")},
        description=st.text(PRINTABLE, max_size=500),
        held_out=HELD_OUT,
        bytes=st.none() | st.integers(0, 2**60),
        tokenizer=TOKENIZERS,
    ),
    mapping(
        {"source": st.just("hub"), "name": st.just("owner/name")},
        config=st.none() | st.text(max_size=200),
        split=st.just("test"),
    ),
)
ABOUT = mapping(
    {},
    **{name: st.text(PRINTABLE, max_size=100) for name in ("purpose", "organiser", "licence")},
    until=st.none() | st.dates().map(str),
    contact=st.text(PRINTABLE, max_size=200),
)
SPECS = mapping(
    {
        "run_id": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z"),
        "model_config": MODELS,
        "training_params": TRAININGS,
        "dataset_info": DATA,
    },
    version=st.just(1),
    title=st.text(PRINTABLE, max_size=200),
    initial_peers=st.lists(st.just(PEER), max_size=3),
    local=st.booleans(),
    session_id=st.none() | st.integers(0, 2**53),
    training_id=st.none() | st.text(max_size=64),
    about=st.none() | ABOUT,
)

REFUSED_BY_UTF8 = "\ud800"  # half of a pair, which JSON can hold
TEXTS = st.text() | st.just(REFUSED_BY_UTF8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def paths_of(content: Any) -> list[tuple[Any, ...]]:
    """The ways to all values in a JSON value, itself included."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        inner = list(content.items())
    elif isinstance(content, list):
        inner = list(enumerate(content))
    return [(), *((key, *rest) for key, value in inner for rest in paths_of(value))]


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.copy(content)
    changed[path[0]] = replaced(content[path[0]], path[1:], value)
    return changed
