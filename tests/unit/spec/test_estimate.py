"""Estimates from the spec alone; test_architectures compares them with the library's models."""

from typing import Any

import pytest

from app.common.errors import SpecError
from app.spec import schema as spec
from app.spec.costs.chunks import CHUNK
from app.spec.estimate import CUDA_CONTEXT, LIBRARIES, Estimate, estimate
from app.spec.schema import SwarmSpec
from tests.support.processes.apps import tiny_spec, training
from tests.support.training.specs import SMALLEST

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2, "n_positions": 32}


def swarm(*, model: dict[str, Any] | None = None, **training: Any) -> SwarmSpec:
    params = {**SMALLEST["training_params"], **training}
    return spec.parse({**SMALLEST, "model_config": model or GPT2, "training_params": params})


def sizes(found: Estimate) -> dict[str, int | None]:
    return {part.name: part.size for part in found.memory.parts}


def test_parts_of_the_memory_on_a_cpu() -> None:
    found = estimate(swarm(), device="cpu")
    count = found.parameters
    memory = sizes(found)
    activations = memory.pop("Activations")
    assert activations is not None
    assert activations > 0
    assert memory == {
        "Weights": 4 * count,
        "Gradients": 4 * count,
        "Optimizer": 8 * count,
        "Averaging": 8 * count,
        "Libraries": LIBRARIES,
    }
    assert found.host.parts == ()
    assert found.memory.total == sum(size or 0 for size in memory.values()) + activations


def test_a_large_vocabulary_takes_its_logits_in_chunks() -> None:
    memory = sizes(estimate(swarm(model=GPT2 | {"vocab_size": 50_257}), device="cpu"))
    assert memory["Logits"] == 4 * 50_257 * (2 * CHUNK + 64)


def test_gpu_computes_in_16_bits_and_averages_from_the_machines_memory() -> None:
    found = estimate(swarm(), device="gpu")
    memory = sizes(found)
    assert memory["Half precision"] == 2 * found.parameters
    assert memory["CUDA"] == CUDA_CONTEXT
    assert "Averaging" not in memory
    assert found.host.total == 8 * found.parameters + LIBRARIES


def test_float32_on_a_gpu_has_no_half_precision_part() -> None:
    assert "Half precision" not in sizes(estimate(swarm(precision="fp32"), device="gpu"))


@pytest.mark.parametrize(
    ("optimizer", "states"), [({"name": "sgd"}, 0), ({"name": "sgd", "momentum": 0.9}, 1)]
)
def test_optimizer_takes_memory_for_its_states(optimizer: dict[str, Any], states: int) -> None:
    found = estimate(swarm(optimizer=optimizer), device="cpu")
    assert sizes(found)["Optimizer"] == 4 * states * found.parameters
    checkpoints = found.disk.parts[0].size
    assert checkpoints == 3 * 4 * (1 + states) * found.parameters


def test_activations_grow_with_the_micro_batch() -> None:
    small, large = (
        sizes(estimate(swarm(micro_batch_size=size), device="cpu"))["Activations"]
        for size in (2, 8)
    )
    assert small is not None
    assert large == 4 * small


def test_automatic_micro_batch_is_the_largest_that_fits() -> None:
    model = {**GPT2, "n_embd": 512, "n_layer": 8}
    free, fixed = (
        swarm(model=model, target_batch_size=4096),
        swarm(model=model, micro_batch_size=64),
    )
    most = estimate(free, device="gpu").memory.total
    less = estimate(free, device="gpu", room=most // 2).memory.total
    assert most // 4 < less <= most // 2
    assert estimate(free, device="gpu", room=most).memory.total == most
    least = estimate(free, device="gpu", room=0).memory
    assert any("computed twice" in part.why for part in least.parts)
    needed = estimate(fixed, device="gpu").memory.total
    assert estimate(fixed, device="gpu", room=0).memory.total == needed


def test_compression_halves_the_traffic_of_an_epoch() -> None:
    half, full = (
        estimate(swarm(averaging={"compression": name}), device="cpu").traffic.epoch
        for name in ("float16", "none")
    )
    assert full == 2 * half


def test_traffic_is_a_range_with_reasons() -> None:
    found = estimate(swarm(), device="cpu").traffic
    assert 0 < found.low < found.high
    assert found.epochs[0] <= found.epochs[1] <= 3600 / 15  # matchmaking takes 15 s
    assert any("15 s" in sentence for sentence in found.why)


def test_traffic_stays_below_the_lines_capacity() -> None:
    huge = {"model_type": "llama"}
    assert estimate(swarm(model=huge), device="gpu").traffic.high <= 125e6 * 3600


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        ({"source": "builtin"}, True),
        ({"source": "hub", "name": "a/b"}, True),
        ({"source": "files", "paths": ["a"]}, False),
        ({"source": "https", "url": "https://a/b", "sha256": "0" * 64}, False),
    ],
)
def test_disk_is_complete_only_when_the_datas_size_is_known(
    data: dict[str, Any], complete: bool
) -> None:
    found = estimate(spec.parse({**SMALLEST, "dataset_info": data}), device="cpu")
    assert found.disk.complete is complete
    assert all(part.why for part in found.disk.parts)


def test_vocabulary_of_a_file_is_not_known() -> None:
    data = {"source": "builtin", "tokenizer": {"kind": "file", "path": "a.json"}}
    content = {**SMALLEST, "dataset_info": data}
    assert not estimate(spec.parse(content), device="cpu").vocabulary_known
    content["model_config"] = {**GPT2, "vocab_size": 1000}
    assert estimate(spec.parse(content), device="cpu").vocabulary_known


@pytest.mark.parametrize("value", [0, -1, "many", 1.5, True, [], 2**40])
def test_invalid_size_is_named(value: object) -> None:
    with pytest.raises(SpecError) as caught:
        estimate(swarm(model={**GPT2, "n_layer": value}), device="cpu")
    assert caught.value.field == "model_config.n_layer"


@pytest.mark.parametrize(("strategy", "least"), [("diloco", 5), ("sparseloco", 50)])
def test_strategies_with_steps_of_their_own_send_less(strategy: str, least: float) -> None:
    plain = tiny_spec(training_params=training(averaging={"compression": "float16"}))
    other = tiny_spec(
        training_params=training(averaging={"compression": "float16"}, strategy=strategy)
    )
    traffic, less = (
        estimate(spec.parse(each), device="cpu").traffic.low for each in (plain, other)
    )
    assert traffic > least * less
