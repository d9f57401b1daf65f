"""Models from specs: each type learns, all peers get the same one, and mistakes are named."""

import math
import warnings
from typing import Any

import psutil
import pytest
import torch

from app.common.errors import DeviceError, SpecError
from app.spec import schema as specs
from app.spec.schema import MODEL_TYPES, SwarmSpec
from app.trainer.model import model as models
from app.trainer.model.model import (
    BF16,
    FP16,
    FP32,
    build_model,
    loss_of,
    optimizer_for,
    parameter_count,
    precision_for,
    scheduler_for,
)
from app.trainer.room import Room

CPU = torch.device("cpu")
COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TINY: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
    },
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
    },
    "llama": COMMON | {"num_key_value_heads": 2},
    "mistral": COMMON | {"num_key_value_heads": 2},
    "qwen2": COMMON | {"num_key_value_heads": 2},
    "qwen3": COMMON | {"num_key_value_heads": 2, "head_dim": 8},
}


def spec_of(
    model_type: str = "gpt2",
    *,
    training: dict[str, Any] | None = None,
    without: str = "",
    **fields: Any,
) -> SwarmSpec:
    tiny = {name: value for name, value in TINY.get(model_type, COMMON).items() if name != without}
    return specs.parse(
        {
            "run_id": "test",
            "model_config": {"model_type": model_type, **tiny, **fields},
            "training_params": {"target_batch_size": 64, "sequence_length": 16} | (training or {}),
            "dataset_info": {"source": "builtin"},
        }
    )


def built(spec: SwarmSpec, *, vocabulary_size: int = 256) -> torch.nn.Module:
    return build_model(spec, vocabulary_size=vocabulary_size, room=Room(device=CPU))


def tokens(samples: int = 2, *, length: int = 16) -> torch.Tensor:
    return torch.randint(256, (samples, length + 1), generator=torch.Generator().manual_seed(0))


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


# --- the loss


def test_the_loss_is_the_one_of_the_library() -> None:
    model = built(spec_of()).eval()
    batch = tokens()
    theirs = model(input_ids=batch, labels=batch).loss
    assert loss_of(model, batch).item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_attention_is_torchs_own_where_the_model_has_it(model_type: str) -> None:
    config: Any = built(spec_of(model_type)).config
    expected = "eager" if model_type == "gpt_neo" else "sdpa"
    assert config._attn_implementation == expected


def test_a_model_learns_a_pattern() -> None:
    spec = spec_of(training={"optimizer": {"learning_rate": 1e-2}})
    model = built(spec)
    optimizer = optimizer_for(spec)(model.parameters())
    batch = torch.arange(17).repeat(4, 1)
    losses = []
    for _ in range(30):
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 5
    assert losses[-1] < 1


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
    with pytest.raises(SpecError, match="2,000, but the model has 1,024 positions"):
        built(spec_of(training={"sequence_length": 2000}))


@pytest.mark.parametrize(("optimizer", "floats"), [("adamw", 4), ("sgd", 2)])
def test_a_model_that_cannot_fit_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, floats: int
) -> None:
    spec = spec_of(n_embd=2**16, n_layer=12, training={"optimizer": {"name": optimizer}})
    monkeypatch.setattr(models, "_from_config", only_on_meta(models._from_config))
    count = parameter_count(spec, vocabulary_size=256)
    with pytest.raises(DeviceError) as caught:
        built(spec)
    assert f"{count:,} parameters" in caught.value.message
    assert f"{count * 4 * floats / 2**30:,.1f} GiB" in caught.value.message
    assert caught.value.field == "model_config"


def only_on_meta(build: Any) -> Any:
    def checked(config: Any) -> torch.nn.Module:
        assert torch.get_default_device().type == "meta"
        return build(config)  # type: ignore[no-any-return]

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


# --- precision


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [
        ("cpu", "auto", FP32),
        ("cpu", "fp32", FP32),
        ("cpu", "bf16", BF16),
        ("mps", "auto", FP32),
        ("cuda", "auto", BF16),
        ("cuda", "fp16", FP16),
        ("cuda", "fp32", FP32),
        ("cuda:1", "auto", FP16),
    ],
)
def test_a_precision_is_found(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: Any, expected: models.Precision
) -> None:
    capabilities = {torch.device("cuda"): (9, 0), torch.device("cuda:1"): (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    assert precision_for(torch.device(device), wanted) == expected


@pytest.mark.parametrize(("device", "wanted"), [("cpu", "fp16"), ("mps", "bf16"), ("cuda", "bf16")])
def test_a_precision_that_the_device_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(SpecError) as caught:
        precision_for(torch.device(device), wanted)
    assert caught.value.field == "training_params.precision"
    assert "fp32" in caught.value.remedy


def test_only_float16_needs_a_scaler() -> None:
    assert [each.needs_scaler for each in (FP32, BF16, FP16)] == [False, False, True]


def test_a_loss_in_bfloat16_is_float32_and_near() -> None:
    model = built(spec_of()).eval()
    exact = loss_of(model, tokens())
    with BF16.context(CPU):
        near = loss_of(model, tokens())
    assert near.dtype == torch.float32
    assert near.item() == pytest.approx(exact.item(), abs=0.05)
    assert near.item() != exact.item()
    with FP32.context(CPU):
        assert loss_of(model, tokens()).item() == exact.item()


# --- optimizer and schedule


def test_the_spec_s_optimizer_is_made() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    adam = optimizer_for(
        spec_of(training={"optimizer": {"learning_rate": 0.5, "weight_decay": 0.1, "eps": 1e-6}})
    )(parameters)
    assert isinstance(adam, torch.optim.AdamW)
    assert adam.defaults | {"lr": 0.5, "weight_decay": 0.1, "eps": 1e-6} == adam.defaults
    assert adam.defaults["betas"] == (0.9, 0.95)
    sgd = optimizer_for(spec_of(training={"optimizer": {"name": "sgd", "momentum": 0.9}}))(
        [{"params": parameters}]
    )
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant", "warmup_epochs": 3}, [0.25, 0.5, 0.75, 1, 1, 1, 1]),
        ({"name": "linear", "total_epochs": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"name": "linear", "warmup_epochs": 1, "total_epochs": 3}, [0.5, 1, 0.5, 0, 0]),
        ({"name": "cosine", "total_epochs": 2}, [1, 0.5, 0, 0]),
    ],
)
def test_the_rate_follows_the_schedule(schedule: dict[str, Any], expected: list[float]) -> None:
    spec = spec_of(
        training={"schedule": schedule, "optimizer": {"name": "sgd", "learning_rate": 2.0}}
    )
    optimizer = optimizer_for(spec)([torch.nn.Parameter(torch.zeros(2))])
    make = scheduler_for(spec)
    assert make is not None
    scheduler, rates = make(optimizer), []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected)


def test_a_constant_rate_needs_no_schedule() -> None:
    assert scheduler_for(spec_of()) is None
