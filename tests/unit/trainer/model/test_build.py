"""Models from specs: each type learns, all peers get the same one, and mistakes are named."""

import math
import warnings
from typing import Any

import psutil
import pytest
import torch

from app.common.errors import DeviceError, SpecError
from app.spec.schema import MODEL_TYPES
from app.trainer.model import build
from app.trainer.model.build import build_model, parameter_count
from app.trainer.model.loss import loss_of
from app.trainer.room import Room
from tests.support.training.models import CPU, built, spec_of, tokens

# --- the model


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_type_learns(model_type: str) -> None:
    model = built(spec_of(model_type))
    assert model.training
    loss = loss_of(model, tokens())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(256), abs=0.5)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or name.endswith("k_proj.bias"), name


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_nothing_is_said_on_the_way(model_type: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="transformers"), warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_of(built(spec_of(model_type)), tokens())
    assert caplog.text == ""


def test_all_peers_start_from_the_same_weights() -> None:
    one = built(spec_of(training={"seed": 5}))
    torch.manual_seed(77)
    other = built(spec_of(training={"seed": 5}))
    third = built(spec_of(training={"seed": 6}))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert not all(map(torch.equal, one.parameters(), third.parameters()))


def test_torch_s_random_state_stays_as_it_was() -> None:
    before = torch.get_rng_state()
    built(spec_of())
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_are_counted_without_being_allocated() -> None:
    model = built(spec_of())
    assert parameter_count(spec_of(), vocabulary_size=256) == sum(
        parameter.numel() for parameter in model.parameters()
    )
    huge = spec_of(n_embd=2**16, n_layer=100)
    assert parameter_count(huge, vocabulary_size=256) > 5e12


def test_the_vocabulary_is_the_tokenizer_s_unless_the_spec_has_a_larger_one() -> None:
    assert built(spec_of()).get_input_embeddings().num_embeddings == 256  # type: ignore[operator]
    larger = built(spec_of(vocab_size=320))
    assert larger.get_input_embeddings().num_embeddings == 320  # type: ignore[operator]


def test_every_token_s_embedding_learns() -> None:
    model = built(spec_of("opt"))  # whose own padding token would be number 1
    loss_of(model, torch.tensor([[1, 2, 1, 2]])).backward()
    assert model.get_input_embeddings().weight.grad[1].abs().sum() > 0  # type: ignore[operator]


def test_other_names_of_fields_are_understood() -> None:
    spec = spec_of("llama", rope_theta=5e5)
    assert built(spec).config.rope_parameters["rope_theta"] == 5e5  # type: ignore[index,union-attr]
    aliased = spec_of(without="n_embd", hidden_size=32)
    assert parameter_count(aliased, vocabulary_size=256) == parameter_count(
        spec_of(), vocabulary_size=256
    )


# --- what is wrong with a spec


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"n_layers": 3}, "model_config.n_layers", "Did you mean n_layer?"),
        ({"frobnicate": 3}, "model_config.frobnicate", "It has: "),
        ({"output_hidden_states": True}, "model_config.output_hidden_states", "no such field"),
        ({"quantization_config": {}}, "model_config.quantization_config", "no such field"),
        ({"rope_theta": 1e4}, "model_config.rope_theta", "no such field"),
        ({"n_head": 5}, "model_config", "divisible"),
        ({"n_head": 0}, "model_config", "ZeroDivisionError"),
        ({"n_embd": -4}, "model_config", "negative dimension"),
        ({"n_embd": "big"}, "model_config", "expected int, got str"),
        ({"activation_function": "nope"}, "model_config", "'nope'"),
        ({"resid_pdrop": 3.0}, "model_config", "probability"),
        ({"n_layer": 1001}, "model_config.n_layer", "1,001"),
        ({"n_positions": 2**25}, "model_config.n_positions", "At most"),
        ({"vocab_size": 255}, "model_config.vocab_size", "tokenizer has 256"),
        ({"eos_token_id": 50256}, "model_config.eos_token_id", "Leave it out"),
        ({"n_positions": 15}, "training_params.sequence_length", "raise model_config.n_positions"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], field: str, part: str) -> None:
    with pytest.raises(SpecError) as caught:
        built(spec_of(**fields))
    assert caught.value.field == field
    assert part in caught.value.text
    assert caught.value.remedy


def test_fields_that_clash_only_when_it_runs_are_named() -> None:
    with pytest.raises(SpecError) as caught:
        built(spec_of("llama", num_key_value_heads=3))
    assert caught.value.field == "model_config"


def test_numbers_deep_inside_are_limited() -> None:
    with pytest.raises(SpecError) as caught:
        built(spec_of("gpt_neo", attention_types=[[["global"], 10**12]]))
    assert caught.value.field == "model_config.attention_types"


def test_positions_are_the_library_s_unless_said() -> None:
    with pytest.raises(SpecError, match="2,000 tokens, but the model has 1,024 positions"):
        built(spec_of(training={"sequence_length": 2000}))


@pytest.mark.parametrize(("optimizer", "floats"), [("adamw", 4), ("sgd", 2)])
def test_a_model_that_cannot_fit_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, floats: int
) -> None:
    spec = spec_of(n_embd=2**16, n_layer=12, training={"optimizer": {"name": optimizer}})
    monkeypatch.setattr(build, "_from_config", only_on_meta(build._from_config))
    count = parameter_count(spec, vocabulary_size=256)
    with pytest.raises(DeviceError) as caught:
        built(spec)
    assert f"{count:,} parameters" in caught.value.message
    assert f"{count * 4 * floats / 2**30:,.1f} GiB" in caught.value.message
    assert caught.value.field == "model_config"


def only_on_meta(from_config: Any) -> Any:
    def checked(config: Any) -> torch.nn.Module:
        assert torch.get_default_device().type == "meta"
        return from_config(config)  # type: ignore[no-any-return]

    return checked


def test_memory_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = parameter_count(spec_of(), vocabulary_size=256) * 16
    free = psutil.virtual_memory()
    for available, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda a=available: free._replace(available=a)
        )
        if fits:
            built(spec_of())
        else:
            with pytest.raises(DeviceError):
                built(spec_of())


def test_memory_that_is_not_allowed_is_named() -> None:
    with pytest.raises(DeviceError) as caught:
        build_model(spec_of(), vocabulary_size=256, room=Room(device=CPU, allowed=1))
    assert caught.value.field == "terms.max_memory"
    assert "0.0 GiB that you allow" in caught.value.message


# --- what would fill the memory


@pytest.mark.parametrize(
    "value",
    [
        [[["global", "local"], 2**24]],
        [[["global"] * 3000, 2**24]],
        [[["global"], 1]] * 1001,
        [[["global"] * 1001, 1]],
        [[["global"] * 3000, 2**24, "ignored"]],
        [["g" * 3000, 2**24]],
        [[{"global": 1}, 2**24]],
    ],
)
def test_lists_that_the_library_repeats_are_bounded(value: Any) -> None:
    with pytest.raises(SpecError, match=r"make [0-9,]+ layers") as caught:
        built(spec_of("gpt_neo", attention_types=value))
    assert caught.value.field == "model_config.attention_types"
    assert caught.value.remedy == "At most 1,000 is allowed."


@pytest.mark.parametrize("value", [3, [3], [[3, 3]], [[["global"], "x"]], [[3, 2]]])
def test_a_wrong_form_of_such_a_list_is_left_to_the_library(value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        built(spec_of("gpt_neo", attention_types=value))
    assert caught.value.field.startswith("model_config")


class OneGpu(Room):
    """A room on a GPU with any amount of memory, on a machine without one."""

    @property
    def available(self) -> int:
        return 2**50


def test_a_model_that_fits_the_gpu_but_not_the_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    little = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    with pytest.raises(DeviceError, match="of this machine's memory") as caught:
        build_model(spec_of(), vocabulary_size=256, room=OneGpu(device=torch.device("cuda:0")))
    assert caught.value.field == "model_config"
