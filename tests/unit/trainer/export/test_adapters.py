"""Adapters: a folder that `peft` loads, and a model in which they are merged."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.takeout.marker import files_of
from app.takeout.messages import Export, ExportFacts
from app.trainer.export import exporting
from tests.support.training.models import built, keep, spec_of

SPEC = spec_of("llama")


def adapted() -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    made = get_peft_model(
        built(SPEC),  # type: ignore[arg-type]
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]),
    )
    for name, parameter in made.named_parameters():
        if "lora_B" in name:  # zero at first, so that nothing would be seen
            torch.nn.init.normal_(parameter)
    return made.eval()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_they_come_out_alone_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    keep(tmp_path / "kept", SPEC, built(SPEC))
    monkeypatch.setattr(exporting, "model_with", lambda *_weights, **_options: adapted())
    folder = tmp_path / "out"
    folder.mkdir()
    order = Export(
        spec=SPEC.to_json(),
        checkpoint_dirs=(str(tmp_path / "kept"),),
        folder=str(folder),
        facts=ExportFacts(),
    )
    exporting.export(order, lambda _report: None)
    tokens = torch.arange(12).unsqueeze(0)
    with torch.inference_mode():
        ours = adapted()(input_ids=tokens).logits
        merged = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=tokens).logits
        base = PeftModel.from_pretrained(built(SPEC).eval(), folder / "adapter")  # type: ignore[arg-type]
        alone = base.eval()(input_ids=tokens).logits
    assert torch.allclose(merged, ours, atol=1e-5)
    assert torch.allclose(alone, ours, atol=1e-5)
    assert not torch.allclose(built(SPEC).eval()(input_ids=tokens).logits, ours, atol=1e-2)
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert files_of(folder) is not None
