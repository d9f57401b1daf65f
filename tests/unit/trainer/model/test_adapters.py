"""Adapters beside frozen weights: what learns, what is kept, and that all begin alike."""

from itertools import islice
from typing import Any

import pytest
import torch

from app.common.errors import DeviceError
from app.spec import architectures
from app.spec.schema import MODEL_TYPES, SwarmSpec
from app.trainer.model import adapters as module
from app.trainer.model.activations import recompute_activations
from app.trainer.model.adapters import load_state, state_of, trained, with_adapters
from app.trainer.model.build import build_model
from app.trainer.model.loss import can_chunk, loss_of
from app.trainer.model.optimizers import optimizer_for
from app.trainer.model.pretrained import Pretrained, digest_of_weights
from app.trainer.model.sampling import continuation
from app.trainer.room import Room
from tests.support.training.models import CPU, built, spec_of, tokens
from tests.support.training.published import on_hub, published, with_weights


def spec_with(model_type: str = "llama", *, seed: int = 0, **adapters: Any) -> SwarmSpec:
    training = {"adapters": {"rank": 4, **adapters}, "seed": seed}
    return with_weights(on_hub(), model_type, training=training)


def adapted(spec: SwarmSpec) -> torch.nn.Module:
    torch.manual_seed(spec.training.seed)
    return with_adapters(built(spec_of(spec.model.model_type, vocab_size=256)), spec)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_only_adapters_learn_and_all_of_them(model_type: str) -> None:
    spec = spec_with(model_type)
    model = adapted(spec)
    sizes = architectures.sizes_of(model_type, spec.model.fields, vocabulary=None)
    assert spec.training.adapters is not None
    counted = architectures.adapter_count(model_type, sizes, spec.training.adapters)
    assert sum(each.numel() for each in trained(model)) == counted
    before = loss_of(model.eval(), tokens()).item()
    assert before == loss_of(built(spec_of(model_type, vocab_size=256)).eval(), tokens()).item()
    optimizer = torch.optim.SGD(trained(model), lr=1.0)
    for _step in range(2):  # at first half of them are zero, and so are the others' gradients
        optimizer.zero_grad()
        loss_of(model, tokens()).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name
        if parameter.grad is not None:
            assert parameter.grad.any(), name


def test_chosen_matrices_alone_get_adapters() -> None:
    model = adapted(spec_with(targets=["q_proj", "v_proj"]))
    names = {name.split(".")[-4] for name, each in model.named_parameters() if each.requires_grad}
    assert names == {"q_proj", "v_proj"}


def test_all_peers_begin_with_the_same_adapters() -> None:
    one, other, third = (adapted(spec_with(seed=seed)) for seed in (5, 5, 6))
    assert all(map(torch.equal, trained(one), trained(other)))
    assert not all(map(torch.equal, trained(one), trained(third)))


def test_adapters_of_a_built_model_depend_on_the_seed_alone(tmp_path: Any) -> None:
    files = published()
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    pretrained = Pretrained(
        config={"model_type": "llama", **spec_of("llama").model.fields, "vocab_size": 256},
        files=(tmp_path / "model.safetensors",),
    )
    models = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        spec, room = spec_with(seed=3), Room(device=CPU)
        models.append(build_model(spec, vocabulary_size=256, room=room, pretrained=pretrained))
    assert all(map(torch.equal, trained(models[0]), trained(models[1])))
    assert digest_of_weights(models[0]) == digest_of_weights(models[1])


def test_the_digest_is_of_the_frozen_weights() -> None:
    model = adapted(spec_with())
    before = digest_of_weights(model)
    with torch.no_grad():
        trained(model)[0].add_(1.0)
    assert digest_of_weights(model) == before
    with torch.no_grad():
        next(each for each in model.parameters() if not each.requires_grad).add_(1.0)
    assert digest_of_weights(model) != before


def test_a_checkpoint_keeps_the_adapters_alone() -> None:
    model, other = adapted(spec_with(seed=1)), adapted(spec_with(seed=2))
    state = {name: tensor.clone() for name, tensor in state_of(model).items()}
    assert sum(each.numel() for each in state.values()) == sum(e.numel() for e in trained(model))
    load_state(other, state)
    assert all(map(torch.equal, trained(other), trained(model)))


def test_a_whole_model_is_kept_whole() -> None:
    model = built(spec_of())
    assert state_of(model).keys() == model.state_dict().keys()
    load_state(model, model.state_dict())


@pytest.mark.parametrize("change", ["less", "more", "whole"])
def test_the_state_of_another_model_is_refused(change: str) -> None:
    model = adapted(spec_with())
    state = dict(state_of(model))
    match change:
        case "less":
            state.popitem()
        case "more":
            state["base_model.model.lm_head.weight"] = torch.zeros(256, 32)
        case "whole":
            state = built(spec_of("llama", vocab_size=256)).state_dict()
    with pytest.raises(RuntimeError, match="of another model"):
        load_state(model, state)


def test_peft_is_imported_only_for_adapters() -> None:
    assert not hasattr(module, "peft")
    model = built(spec_of())
    assert with_adapters(model, spec_of()) is model


def test_frozen_weights_take_no_memory_for_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, plain = spec_with(), with_weights(on_hub())
    little = Room(device=CPU, allowed=0)
    count = sum(each.numel() for each in built(spec_of("llama", vocab_size=256)).parameters())
    monkeypatch.setattr(Room, "available", property(lambda _room: count * 4 * 3))
    with pytest.raises(DeviceError):
        build_model(plain, vocabulary_size=256, room=little)
    build_model(spec, vocabulary_size=256, room=little)


def test_what_is_recomputed_gives_the_same_gradients() -> None:
    model = adapted(spec_with())
    loss_of(model, tokens()).backward()
    before = [each.grad.clone() for each in trained(model) if each.grad is not None]
    model.zero_grad()
    assert recompute_activations(model)
    loss_of(model, tokens()).backward()
    after = [each.grad for each in trained(model) if each.grad is not None]
    assert len(before) == len(trained(model))
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_optimizer_trains_adapters(name: str) -> None:
    training = {"adapters": {"rank": 4}, "optimizer": {"name": name, "learning_rate": 0.01}}
    spec = with_weights(on_hub(), training=training)
    model = adapted(spec)
    before = {key: each.clone() for key, each in model.state_dict().items()}
    optimizer = optimizer_for(spec, model)(trained(model))
    for _step in range(2):
        optimizer.zero_grad()
        loss_of(model, tokens()).backward()
        optimizer.step()
    for key, each in model.state_dict().items():
        assert torch.equal(each, before[key]) != ("lora_" in key), key


def test_samples_are_written_with_adapters() -> None:
    model = adapted(spec_with()).eval()
    written = continuation(
        model,
        [1, 2],
        window=8,
        vocabulary_size=256,
        temperature=0.8,
        chance=torch.Generator().manual_seed(0),
    )
    assert len(list(islice(written, 6))) == 6


def test_adapters_learn_the_same_with_logits_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = adapted(spec_with("granite")).eval(), []
    for least in (2**14, 256):
        monkeypatch.setattr("app.trainer.model.loss.LARGE_VOCABULARY", least)
        assert can_chunk(model) == (least == 256)
        model.zero_grad()
        loss_of(model, tokens()).backward()
        found.append([each.grad.clone() for each in trained(model) if each.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
