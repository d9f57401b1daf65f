"""Adapters: a folder that `peft` loads, and a model in which they are merged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.generation_messages import OpenModel
from app.spec.schema import SwarmSpec
from app.takeout.marker import files_of
from app.takeout.messages import Export, Exported, ExportFacts
from app.trainer.export import exporting
from app.trainer.generation.writer import Writer
from app.trainer.model.adapters import trained
from app.trainer.model.build import build_model
from app.trainer.model.pretrained import fetch_pretrained
from app.trainer.pinned.downloads import Downloads
from app.trainer.room import Room
from tests.support.network.model_hub import ModelHub, ask, running_hub
from tests.support.training.models import CPU, built, keep, spec_of
from tests.support.training.published import on_hub, published, with_weights

TOKENS = torch.arange(12).unsqueeze(0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with running_hub() as running:
        ask(running, monkeypatch)
        running.repositories["us/model"] = published()
        yield running


def trained_on_hub(folder: Path, spec: SwarmSpec) -> Any:
    """The spec's model after some training, whose checkpoint and downloads lie in the folder."""
    pretrained = fetch_pretrained(spec, Downloads(cache=folder / "cache"))
    model = build_model(spec, vocabulary_size=256, room=Room(device=CPU), pretrained=pretrained)
    torch.manual_seed(0)
    for parameter in trained(model):  # half of the adapters' are zero at first
        torch.nn.init.normal_(parameter, std=0.2)
    keep(folder / "kept", spec, model)
    return model.eval()


def exported(folder: Path, spec: SwarmSpec) -> Exported:
    (folder / "out").mkdir()
    order = Export(
        spec=spec.to_json(),
        checkpoint_dirs=(str(folder / "kept"),),
        cache_dir=str(folder / "cache"),
        folder=str(folder / "out"),
        facts=ExportFacts(),
    )
    reports: list[Any] = []
    exporting.export(order, reports.append)
    assert isinstance(reports[-1], Exported)
    return reports[-1]


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_they_come_out_alone_and_merged(hub: ModelHub, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    spec = with_weights(on_hub(), training={"adapters": {"rank": 2}})
    ours = logits(trained_on_hub(tmp_path, spec))
    hub.repositories.clear()  # all that is needed lies on this machine
    hub.asked.clear()
    written, folder = exported(tmp_path, spec), tmp_path / "out"
    assert hub.asked == []
    base = built(spec_of("llama", training={"seed": 7}, vocab_size=256))
    assert not torch.allclose(logits(base), ours, atol=1e-2)
    assert written.parameters == sum(each.numel() for each in base.parameters())
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(logits(merged), ours, atol=1e-5)
    alone: Any = PeftModel.from_pretrained(base, folder / "adapter")  # type: ignore[arg-type]
    assert torch.allclose(logits(alone), ours, atol=1e-5)
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert files_of(folder) is not None
    card = (folder / "README.md").read_text()
    assert "Began from: the weights of [us/model](https://huggingface.co/us/model)" in card
    assert "adapters (LoRA) of rank 2" in card


def test_all_weights_of_a_model_that_began_with_some_come_out(
    hub: ModelHub, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    assert hub
    spec = with_weights(on_hub())
    ours = logits(trained_on_hub(tmp_path, spec))
    exported(tmp_path, spec)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(logits(loaded), ours, atol=1e-5)


def test_a_model_with_adapters_writes(hub: ModelHub, tmp_path: Path) -> None:
    spec = with_weights(on_hub(), training={"adapters": {"rank": 2}})
    model = trained_on_hub(tmp_path, spec)
    hub.repositories.clear()
    writer = Writer(
        OpenModel(
            spec=spec.to_json(),
            checkpoint_dirs=(str(tmp_path / "kept"),),
            cache_dir=str(tmp_path / "cache"),
        )
    )
    assert writer.refresh() == 7
    tokens = writer.tokens_of("ab")
    with torch.inference_mode():
        likeliest = int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
    assert next(writer.continuation(tokens, temperature=0)) == likeliest
    keep(tmp_path / "kept", spec, model, epoch=8)
    assert writer.refresh() == 8
