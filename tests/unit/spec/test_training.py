"""Adapters in a spec: what they need, and what changes where they are trained."""

from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import invite, schema
from app.spec.costs.rounds import round_bytes
from app.spec.estimate import estimate
from app.spec.training import DilocoSpec
from tests.support.training.published import on_hub, with_weights
from tests.support.training.specs import SMALLEST

LLAMA = {
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "intermediate_size": 8192,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
}


def test_they_survive_an_invite() -> None:
    found = with_weights(on_hub(), training={"adapters": {"targets": ["q_proj"], "alpha": 8}})
    assert found.training.adapters is not None
    assert (found.training.adapters.rank, found.training.adapters.alpha) == (16, 8.0)
    assert invite.read_link(invite.as_link(found)) == found
    assert "adapters" not in schema.parse(SMALLEST).to_json()["training_params"]


@pytest.mark.parametrize(
    ("options", "rate", "momentum"),
    [
        ({}, 0.7, 0.0),
        ({"diloco": {"bits": 8}}, 0.7, 0.0),
        ({"diloco": {"outer_learning_rate": 0.3, "outer_momentum": 0.9}}, 0.3, 0.9),
    ],
)
def test_diloco_has_other_defaults_with_adapters(
    options: dict[str, Any], rate: float, momentum: float
) -> None:
    training = {"strategy": "diloco", "adapters": {}, **options}
    found = with_weights(on_hub(), training=training).training.diloco
    assert isinstance(found, DilocoSpec)
    assert (found.outer_learning_rate, found.outer_momentum) == (rate, momentum)
    plain = with_weights(on_hub(), training=training | {"adapters": None}).training.diloco
    assert plain is not None
    assert plain.outer_momentum == (momentum if "outer_momentum" in str(options) else 0.9)


@pytest.mark.parametrize(
    ("adapters", "field", "part"),
    [
        ({"targets": ["c_attn"]}, "training_params.adapters.targets", "which has: q_proj, k_proj"),
        ({"targets": ["../x"]}, "training_params.adapters.targets.0", "../x"),
        ({"rank": 0}, "training_params.adapters.rank", "0"),
        ({"dropout": 1}, "training_params.adapters.dropout", "1"),
        ({"code": 1}, "training_params.adapters.code", "not a field"),
    ],
)
def test_a_mistake_is_named(adapters: dict[str, Any], field: str, part: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_weights(on_hub(), training={"adapters": adapters})
    assert caught.value.field == field
    assert part in caught.value.text


def test_adapters_need_weights() -> None:
    params = SMALLEST["training_params"] | {"adapters": {}}
    with pytest.raises(SpecError, match="adapters need pretrained weights") as caught:
        schema.parse(SMALLEST | {"training_params": params})
    assert caught.value.field == "training_params.adapters"


@pytest.mark.parametrize("strategy", ["gradient-averaging", "diloco", "sparseloco"])
def test_a_round_of_adapters_is_small(strategy: str) -> None:
    training = {"strategy": strategy, "adapters": {"targets": ["q_proj", "v_proj"]}}
    whole = with_weights(on_hub(), training={"strategy": strategy}, **LLAMA)
    small = with_weights(on_hub(), training=training, **LLAMA)
    of_all, of_adapters = (estimate(each, device="cpu") for each in (whole, small))
    assert of_all.parameters == of_all.learning == 1_235_814_400
    assert of_adapters.parameters == of_all.parameters + of_adapters.learning
    assert of_adapters.learning == 1_703_936
    assert round_bytes(small, parameters=of_adapters.learning) < 8e6
    assert of_adapters.traffic.epoch < of_all.traffic.epoch / 500
    assert of_adapters.memory.total < of_all.memory.total / 2
    assert of_adapters.disk.parts[0].size == 3 * 12 * of_adapters.learning


def test_the_download_of_the_weights_is_part_of_the_disk() -> None:
    unknown = estimate(with_weights(on_hub(), **LLAMA), device="cpu").disk.parts[1]
    known = estimate(with_weights(on_hub() | {"bytes": 2**31}, **LLAMA), device="cpu").disk.parts[1]
    assert (unknown.name, unknown.size) == ("Pretrained weights", 4 * 1_235_814_400)
    assert known.size == 2**31
