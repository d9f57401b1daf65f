"""Weights to begin with: from a hub and from https, checked against the spec, never code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from app.common.errors import DataError, SpecError, UserFacingError
from app.spec.schema import MODEL_TYPES, SwarmSpec
from app.trainer.model.build import build_model
from app.trainer.model.pretrained import Pretrained, digest_of_weights, fetch_pretrained
from app.trainer.pinned.downloads import Downloads
from app.trainer.room import Room
from tests.support.network.model_hub import ModelHub, ask, https_files, running_hub
from tests.support.training.models import CPU, built, spec_of
from tests.support.training.published import (
    behind,
    changed_config,
    on_hub,
    published,
    with_weights,
)

ROOM = Room(device=CPU)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with running_hub() as running:
        ask(running, monkeypatch)
        yield running


def from_files(files: dict[str, bytes], folder: Path) -> Pretrained:
    """As fetched, with its checks of the config."""
    with https_files(files) as (url, context):
        spec = with_weights(behind(url, files))
        found = fetch_pretrained(spec, Downloads(cache=folder, context=context))
    assert found is not None
    return found


def loaded(
    files: dict[str, bytes], folder: Path, model_type: str = "llama", **fields: Any
) -> torch.nn.Module:
    spec = with_weights(on_hub(), model_type, **fields)
    found = from_files(files, folder)
    return build_model(spec, vocabulary_size=256, room=ROOM, pretrained=found)


def refused(files: dict[str, bytes], folder: Path, **fields: Any) -> UserFacingError:
    with pytest.raises((SpecError, DataError)) as caught:
        loaded(files, folder, **fields)
    assert caught.value.remedy
    return caught.value


# --- what is loaded


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_type_begins_with_what_was_published(model_type: str, tmp_path: Path) -> None:
    original = built(spec_of(model_type, training={"seed": 7}, vocab_size=256))
    model = loaded(published(model_type), tmp_path, model_type)
    assert model.training
    for (name, mine), (_name, theirs) in zip(
        model.named_parameters(), original.named_parameters(), strict=True
    ):
        assert torch.equal(mine, theirs), name
        assert mine.requires_grad
    assert digest_of_weights(model) == digest_of_weights(original)


def test_from_the_hub_only_config_and_weights_are_fetched(hub: ModelHub, tmp_path: Path) -> None:
    files = published()
    hub.repositories["us/model"] = files | {
        "modeling_evil.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": b"the same once more",
    }
    spec = with_weights(on_hub())
    found = fetch_pretrained(spec, Downloads(cache=tmp_path))
    model = build_model(spec, vocabulary_size=256, room=ROOM, pretrained=found)
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}
    assert torch.equal(
        model.get_parameter("model.norm.weight"),
        load(files["model.safetensors"])["model.norm.weight"],
    )


def test_weights_in_several_files_are_put_together(hub: ModelHub, tmp_path: Path) -> None:
    files = published()
    tensors = sorted(load(files["model.safetensors"]).items())
    hub.repositories["us/model"] = {
        "config.json": files["config.json"],
        "model-00001-of-00002.safetensors": save(dict(tensors[:9])),
        "model-00002-of-00002.safetensors": save(dict(tensors[9:])),
        "model.safetensors.index.json": b"{}",
    }
    spec = with_weights(on_hub())
    found = fetch_pretrained(spec, Downloads(cache=tmp_path))
    model = build_model(spec, vocabulary_size=256, room=ROOM, pretrained=found)
    whole = loaded(files, tmp_path)
    assert digest_of_weights(model) == digest_of_weights(whole)


def test_half_precision_becomes_float32_without_loss(tmp_path: Path) -> None:
    files = published()
    half = {name: each.bfloat16() for name, each in load(files["model.safetensors"]).items()}
    model = loaded(files | {"model.safetensors": save(half)}, tmp_path)
    weight = model.get_parameter("model.norm.weight")
    assert weight.dtype == torch.float32
    assert torch.equal(weight, half["model.norm.weight"].float())


def test_one_changed_weight_changes_the_digest(tmp_path: Path) -> None:
    model = loaded(published(), tmp_path)
    before = digest_of_weights(model)
    with torch.no_grad():
        model.get_parameter("model.norm.weight")[3] += 1e-6
    assert digest_of_weights(model) != before


def test_what_the_config_says_beyond_the_spec_counts(tmp_path: Path) -> None:
    files = changed_config(published(), rms_norm_eps=0.5, attention_dropout=0.1)
    model: Any = loaded(files, tmp_path, attention_dropout=0.0)
    assert model.config.rms_norm_eps == 0.5
    assert model.config.attention_dropout == 0.0


def test_a_spec_without_weights_fetches_nothing(tmp_path: Path) -> None:
    assert fetch_pretrained(spec_of(), Downloads(cache=tmp_path)) is None


# --- what is refused


@pytest.mark.parametrize(
    ("config", "fields", "field", "part"),
    [
        ({"model_type": "mistral"}, {}, "model_config.model_type", "of the type 'mistral'"),
        ({"model_type": "evil"}, {}, "model_config.model_type", "of the type 'evil'"),
        ({}, {"rms_norm_eps": 0.1}, "model_config.rms_norm_eps", "is 0.1, but the weights have"),
        ({}, {"num_key_value_heads": 4}, "model_config.num_key_value_heads", "have 2"),
        ({"num_hidden_layers": 10**9}, {}, "pretrained.num_hidden_layers", "1,000,000,000"),
        ({"hidden_act": "nope"}, {}, "model_config", "nope"),
        ({"quantization_config": {}}, {}, "pretrained", "quantized"),
    ],
)
def test_a_config_that_does_not_fit_is_named(
    tmp_path: Path, config: dict[str, Any], fields: dict[str, Any], field: str, part: str
) -> None:
    error = refused(changed_config(published(), **config), tmp_path, **fields)
    assert error.field == field
    assert part in error.text


@pytest.mark.parametrize("config", [b"", b"[]", b"[" * 5000, b'"x"', b"\xff"])
def test_a_config_that_is_none_is_refused(tmp_path: Path, config: bytes) -> None:
    error = refused(published() | {"config.json": config}, tmp_path)
    assert "config.json" in error.message


def test_code_that_a_config_names_is_not_looked_for(tmp_path: Path) -> None:
    files = changed_config(
        published(), auto_map={"AutoModelForCausalLM": "evil.Evil"}, trust_remote_code=True
    )
    assert type(loaded(files, tmp_path)).__module__.startswith("transformers.models.llama")


def broken(files: dict[str, bytes], change: str) -> dict[str, bytes]:
    tensors = load(files["model.safetensors"])
    match change:
        case "missing":
            del tensors["model.norm.weight"]
        case "other size":
            tensors["model.norm.weight"] = torch.ones(31)
        case "not finite":
            tensors["model.norm.weight"][0] = torch.nan
        case "whole numbers":
            tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
        case "no file":
            return files | {"model.safetensors": b"\x80\x04pickle"}
        case "too many layers":
            return published(num_hidden_layers=3)
    return files | {"model.safetensors": save(tensors)}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("missing", "1 of its tensors are missing or of another size, such as model.norm.weight"),
        ("other size", "such as model.norm.weight"),
        ("not finite", "model.norm.weight holds values that are not finite"),
        ("whole numbers", "such as model.norm.weight"),
        ("no file", "is no safetensors file"),
        ("too many layers", "is 2, but the weights have 3"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: str, part: str) -> None:
    assert part in refused(broken(published(), change), tmp_path).text


def test_a_size_that_the_spec_leaves_out_must_not_make_the_preview_wrong(tmp_path: Path) -> None:
    spec = with_weights(on_hub())
    model = dict(spec.to_json()["model_config"])
    del model["num_key_value_heads"]
    bare = SwarmSpec.model_validate(spec.to_json() | {"model_config": model})
    found = from_files(published(), tmp_path)
    with pytest.raises(SpecError, match=r"says a model of .* parameters, but the weights have"):
        build_model(bare, vocabulary_size=256, room=ROOM, pretrained=found)


def test_a_download_much_larger_than_the_model_is_refused(hub: ModelHub, tmp_path: Path) -> None:
    hub.repositories["us/model"] = published() | {"model.safetensors": bytes(2**26 + 2**20)}
    with pytest.raises(DataError, match="bytes to download; at most"):
        fetch_pretrained(with_weights(on_hub()), Downloads(cache=tmp_path))


@pytest.mark.parametrize("lacks", ["config.json", "model.safetensors"])
def test_a_repository_without_safetensors_is_refused(
    hub: ModelHub, tmp_path: Path, lacks: str
) -> None:
    hub.repositories["us/model"] = published() | {"pytorch_model.bin": b"pickle"}
    del hub.repositories["us/model"][lacks]
    with pytest.raises(DataError, match=r"has no config\.json or no model\.safetensors") as caught:
        fetch_pretrained(with_weights(on_hub()), Downloads(cache=tmp_path))
    assert caught.value.field == "pretrained.name"


def test_two_files_that_hold_the_same_tensor_are_refused(tmp_path: Path) -> None:
    files = published()
    twice = files | {"once-more.safetensors": files["model.safetensors"]}
    assert "two of its files hold" in refused(twice, tmp_path).text
