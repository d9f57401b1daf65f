"""The exported folder: `transformers` alone loads it, and it is our model to the last logit."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.common.errors import DataError, DeviceError, ExportError
from app.protocol import Message
from app.spec.schema import MODEL_TYPES, SwarmSpec
from app.takeout.marker import files_of
from app.takeout.messages import Export, Exported, ExportFacts, ExportProgress, ExportStep
from app.trainer.export import exporting
from app.trainer.export.exporting import export
from app.trainer.model import build
from tests.support.training.models import built, keep, spec_of

TEXT = "Ünïcödé 漢字 🎉 e\u0301\t\n\0 Ā <|endoftext|>  don't "
OTHERS_TOKENIZER = ("qwen2",)
"""Types for which `AutoTokenizer` takes a class of its own, whatever the file says."""


@pytest.fixture
def take_out(tmp_path: Path) -> Callable[..., Path]:
    """Trains nothing, keeps a checkpoint, and exports it."""

    def make(spec: SwarmSpec, *, vocabulary_size: int = 256, **facts: Any) -> Path:
        model = built(spec, vocabulary_size=vocabulary_size)
        keep(tmp_path / "checkpoints", spec, model)
        folder = tmp_path / "exported"
        folder.mkdir()
        order = Export(
            spec=spec.to_json(),
            checkpoint_dirs=(str(tmp_path / "checkpoints"),),
            cache_dir=str(tmp_path / "cache"),
            folder=str(folder),
            facts=ExportFacts(**facts),
        )
        reports: list[Message] = []
        export(order, reports.append)
        folder.with_name("reports").write_text(repr(reports[-1]))
        return folder

    return make


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_type_is_loaded_by_transformers_alone(
    model_type: str, take_out: Callable[..., Path]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    spec = spec_of(model_type)
    folder = take_out(spec)
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.tensor([[*TEXT.encode()[:16]]])
    with torch.inference_mode():
        ours = built(spec).eval()(input_ids=tokens, use_cache=False).logits
        assert torch.equal(loaded(input_ids=tokens, use_cache=False).logits, ours)
    for kind in (PreTrainedTokenizerFast, AutoTokenizer):
        tokenizer = kind.from_pretrained(folder)
        assert len(tokenizer) == 256
        exact = kind is PreTrainedTokenizerFast or model_type not in OTHERS_TOKENIZER
        text = TEXT if exact else unicodedata.normalize("NFC", TEXT)
        assert tokenizer(TEXT)["input_ids"] == [*text.encode()]
        assert tokenizer.decode([*TEXT.encode()]) == TEXT
    said = (folder / "README.md").read_text(encoding="utf-8")
    assert ("PreTrainedTokenizerFast" in said) is (model_type in OTHERS_TOKENIZER)
    assert loaded.generation_config.eos_token_id == 0
    assert loaded.config.use_cache
    assert files_of(folder) is not None


def test_it_writes_until_it_is_at_the_length_that_it_was_trained_at(
    take_out: Callable[..., Path],
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = take_out(spec_of(n_positions=16))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    written = AutoModelForCausalLM.from_pretrained(folder).generate(
        **tokenizer("The", return_tensors="pt"), eos_token_id=None
    )
    assert written.shape == (1, 16)


def test_all_is_in_safetensors_and_no_code_is_named(take_out: Callable[..., Path]) -> None:
    folder = take_out(spec_of())
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "config.json", "cotrain-export.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    assert load_file(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert not any(b"auto_map" in path.read_bytes() for path in folder.glob("*.json"))


def tokenizer_file(path: Path) -> Path:
    """A small tokenizer that would add, cut and fill, as published ones do."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    words = ("<s>", "</s>", "the", "swarm", "learns", "?")
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken("<s>"), AddedToken("</s>")])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    made.enable_truncation(2)
    made.enable_padding(length=5)
    made.save(str(path))
    return path


def with_tokenizer(path: Path) -> SwarmSpec:
    spec = spec_of("llama")
    content = spec.to_json()
    content["dataset_info"]["tokenizer"] = {"kind": "file", "path": str(path)}
    return SwarmSpec.model_validate(content)


def test_a_tokenizer_of_a_file_gives_what_the_model_was_trained_on(
    take_out: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    spec = with_tokenizer(tokenizer_file(tmp_path / "tokenizer.json"))
    tokenizer = AutoTokenizer.from_pretrained(take_out(spec, vocabulary_size=6))
    assert tokenizer("the swarm learns </s> the")["input_ids"] == [2, 3, 4, 1, 2]
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("</s>", None)


def test_a_tokenizer_that_is_gone_is_named(take_out: Callable[..., Path], tmp_path: Path) -> None:
    file = tokenizer_file(tmp_path / "tokenizer.json")
    spec = with_tokenizer(file)
    file.unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        take_out(spec, vocabulary_size=6)


def test_what_was_written_is_said(tmp_path: Path, take_out: Callable[..., Path]) -> None:
    folder = take_out(spec_of())
    size = sum(path.stat().st_size for path in folder.iterdir())
    parameters = sum(parameter.numel() for parameter in built(spec_of()).parameters())
    expected = Exported(epoch=7, parameters=parameters, size=size)
    assert (tmp_path / "reports").read_text() == repr(expected)


def test_a_full_disk_is_seen_before_it_is_filled(
    take_out: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=2**20))
    with pytest.raises(ExportError, match="the disk has 1 MiB free") as caught:
        take_out(spec_of())
    assert "Make room" in caught.value.remedy
    assert [*(tmp_path / "exported").iterdir()] == []


def test_a_folder_that_cannot_be_written_is_named(
    take_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_marker", fail)
    with pytest.raises(ExportError, match="No space left") as caught:
        take_out(spec_of())
    assert "Make room" in caught.value.remedy


def test_too_little_memory_is_said(
    take_out: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(spec_of())
    memory = SimpleNamespace(available=1000)
    monkeypatch.setattr(build.psutil, "virtual_memory", lambda: memory)
    order = Export(
        spec=spec_of().to_json(),
        checkpoint_dirs=(str(tmp_path / "checkpoints"),),
        cache_dir=str(tmp_path / "cache"),
        folder=str(tmp_path),
        facts=ExportFacts(),
    )
    with pytest.raises(DeviceError, match="of this machine's memory"):
        export(order, lambda _report: None)


def test_a_model_that_was_not_written_as_it_is_is_not_kept(
    take_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = exporting._logits
    calls: list[float] = []

    def drifting(model: torch.nn.Module) -> torch.Tensor:
        calls.append(0.01)
        return real(model) + sum(calls)

    monkeypatch.setattr(exporting, "_logits", drifting)
    with pytest.raises(ExportError, match=r"logits differ by 0\.01"):
        take_out(spec_of())


def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    spec = spec_of()
    keep(tmp_path / "kept", spec, built(spec))
    (tmp_path / "out").mkdir()
    order = Export(
        spec=spec.to_json(),
        checkpoint_dirs=(str(tmp_path / "kept"),),
        cache_dir=str(tmp_path / "cache"),
        folder=str(tmp_path / "out"),
        facts=ExportFacts(),
    )
    reports: list[Message] = []
    export(order, reports.append)
    steps = [each.step for each in reports if isinstance(each, ExportProgress)]
    assert list(dict.fromkeys(steps)) == [
        *(ExportStep.LOADING, ExportStep.READING, ExportStep.WRITING, ExportStep.CHECKING)
    ]
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
