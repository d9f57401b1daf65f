"""What is fastest: found by trying, remembered, and none of it where the spec says the size."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from app.common.errors import DeviceError
from app.protocol import Device, TrainerPhase
from app.spec import schema as spec
from app.spec.architectures import sizes_of
from app.spec.costs.activations import saved_bytes
from app.trainer.model.build import build_model
from app.trainer.model.loss import loss_of
from app.trainer.model.precision import FP32
from app.trainer.room import Room
from app.trainer.step.trying import RandomSteps
from app.trainer.tuning import REMEMBERED, Trial, Tuned, TuningCache, tune
from tests.support.training.specs import SMALLEST

TINY = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 16}
CPU = Device(id="cpu", name="Ryzen", memory=2**34)


def is_plain(loss: Any, model: torch.nn.Module) -> bool:
    return isinstance(loss, partial) and (loss.func, loss.args) == (loss_of, (model,))


def trial(
    *, device: Device = CPU, vocabulary: int = 256, allowed: int = 0, **training: Any
) -> Trial:
    params = {"target_batch_size": 64, "sequence_length": 16} | training
    found = spec.parse({**SMALLEST, "model_config": TINY, "training_params": params})
    return Trial(
        spec=found,
        chosen=device,
        room=Room(device=torch.device(device.id), allowed=allowed),
        precision=FP32,
        vocabulary=vocabulary,
    )


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return build_model(trial().spec, vocabulary_size=256, room=Room(device=torch.device("cpu")))


# --- what fits


def test_memory_bounds_the_search_where_nothing_refuses(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 2 * 5 * trial().steps.bytes_a_sample(partial(loss_of, model))
    memory = type("Memory", (), {"available": room})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    tried: list[int] = []
    monkeypatch.setattr(RandomSteps, "seconds", lambda _self, _loss, n: tried.append(n) or 1.0)
    tune(trial(), model, file="", say=lambda _: None)
    assert tried == [1, 2, 4]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that the trainer has taken already."""
    monkeypatch.setattr(Room, "_taken", lambda _room: 10**9)
    return 10**9


def test_no_more_samples_than_the_memory_that_is_allowed(
    model: torch.nn.Module, taken: int
) -> None:
    coming = 3 * sum(weights.nbytes for weights in model.parameters())  # gradients and AdamW's
    allowed = taken + coming + 5 * trial().steps.bytes_a_sample(partial(loss_of, model))
    for wanted, size in ((8, 5), (4, 4)):
        asked = trial(micro_batch_size=wanted, allowed=allowed)
        assert tune(asked, model, file="", say=pytest.fail)[0].micro_batch_size == size


def test_not_even_one_sample_is_allowed(model: torch.nn.Module, taken: int) -> None:
    with pytest.raises(DeviceError, match="that you allow") as caught:
        tune(trial(allowed=taken + 1), model, file="", say=lambda _: None)
    assert caught.value.field == "terms.max_memory"


# --- all together


def test_found_once_and_remembered(model: torch.nn.Module, tmp_path: Path) -> None:
    said: list[TrainerPhase] = []
    found, loss = tune(trial(), model, file=str(tmp_path / "t.json"), say=said.append)
    assert is_plain(loss, model)
    assert found.micro_batch_size in (1, 2, 4, 8, 16)
    assert said == [TrainerPhase.TUNING]
    again, _ = tune(trial(), model, file=str(tmp_path / "t.json"), say=said.append)
    assert again == found
    assert said == [TrainerPhase.TUNING]


def test_nothing_is_tried_where_the_spec_says_the_size(model: torch.nn.Module) -> None:
    found = tune(trial(micro_batch_size=6), model, file="t.json", say=pytest.fail)
    assert found[0] == Tuned(micro_batch_size=6)
    assert is_plain(found[1], model)


@pytest.mark.parametrize(
    "other",
    [
        trial(device=Device(id="cpu", name="Xeon", memory=2**34)),
        trial(sequence_length=8),
        trial(target_batch_size=8),
        trial(vocabulary=512),
        trial(allowed=2**33),
    ],
)
def test_what_it_holds_for(other: Trial) -> None:
    assert other.key != trial().key
    assert trial(seed=5).key == trial().key


# --- compiling


def test_remembered_loss_is_compiled_and_warm_before_training(
    compiler: Callable[[float], None], model: torch.nn.Module, tmp_path: Path
) -> None:
    compiler(0.5)
    TuningCache(tmp_path / "t.json").remember(trial().key, Tuned(micro_batch_size=8, compiled=True))
    said: list[TrainerPhase] = []
    found, loss = tune(trial(), model, file=str(tmp_path / "t.json"), say=said.append)
    assert (found.compiled, is_plain(loss, model), said) == (True, False, [TrainerPhase.COMPILING])


def test_compiler_that_fails_is_done_without(
    compiler: Callable[[float], None],
    model: torch.nn.Module,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiler(-1)
    TuningCache(tmp_path / "t.json").remember(trial().key, Tuned(micro_batch_size=8, compiled=True))
    with caplog.at_level(logging.WARNING):
        found = tune(trial(), model, file=str(tmp_path / "t.json"), say=lambda _: None)
    assert found[0] == Tuned(micro_batch_size=8)
    assert is_plain(found[1], model)
    assert "no C compiler" in caplog.text


# --- remembering


def test_findings_are_kept_the_newest_ones(tmp_path: Path) -> None:
    findings = TuningCache(tmp_path / "t.json")
    assert findings.recall("0") is None
    for number in range(REMEMBERED + 1):
        findings.remember(str(number), Tuned(micro_batch_size=1 + number))
    assert findings.recall("0") is None
    assert findings.recall("1") == Tuned(micro_batch_size=2)
    findings.remember("1", Tuned(micro_batch_size=64, compiled=True))
    assert findings.recall("1") == Tuned(micro_batch_size=64, compiled=True)
    assert len(json.loads((tmp_path / "t.json").read_text())) == REMEMBERED


@pytest.mark.parametrize("content", ["", "[]", "null", '{"k": 8}', '{"k": {"batch": 8}}'])
def test_file_that_is_none_of_ours_is_no_harm(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    findings = TuningCache(tmp_path / "t.json")
    assert findings.recall("k") is None
    findings.remember("k", Tuned(micro_batch_size=8))
    assert findings.recall("k") == Tuned(micro_batch_size=8)


def test_folder_that_cannot_be_written_is_no_harm(tmp_path: Path) -> None:
    TuningCache(tmp_path / "gone" / "t.json").remember("k", Tuned(micro_batch_size=8))


# --- what would fill the memory


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a device has free, on any machine."""
    free = 20 * 2**30
    monkeypatch.setattr(Room, "available", property(lambda _room: free))
    return free


@pytest.mark.usefixtures("roomy")
def test_a_sample_that_fills_the_memory_is_refused_before_it_is_tried(
    model: torch.nn.Module,
) -> None:
    wanted = trial(vocabulary=50_000, sequence_length=2**20)
    with pytest.raises(DeviceError, match="one sample of 1,048,576 tokens takes") as caught:
        tune(wanted, model, file="", say=lambda _phase: None)
    assert caught.value.field == "training_params.sequence_length"


@pytest.mark.usefixtures("roomy")
def test_a_micro_batch_of_the_spec_that_fills_the_memory_is_lowered(model: torch.nn.Module) -> None:
    wanted = trial(vocabulary=2**24, micro_batch_size=64, precision="bf16")
    tuned, _loss = tune(wanted, model, file="", say=lambda _phase: None)
    assert tuned.micro_batch_size == 6  # of 12 bytes × 2**24 × 16 tokens each


def test_where_one_sample_does_not_fit_its_activations_are_computed_twice(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"target_batch_size": 64, "sequence_length": 2**20, "micro_batch_size": 4}
    deep = {"model_config": TINY | {"n_layer": 20}, "training_params": params}
    wanted = replace(trial(), spec=spec.parse(SMALLEST | deep))
    sizes = sizes_of("gpt2", wanted.spec.model.fields, vocabulary=wanted.vocabulary)
    least, most = (
        2**20
        * saved_bytes(
            wanted.spec.model, sizes, wanted.spec.training, device="cpu", recomputed=recomputed
        )
        for recomputed in (True, False)
    )
    monkeypatch.setattr(Room, "available", property(lambda _room: min(2 * least, most) - 1))
    tuned, _loss = tune(wanted, model, file="", say=lambda _phase: None)
    assert tuned.micro_batch_size == 1
    assert any(getattr(each, "gradient_checkpointing", False) for each in model.modules())
