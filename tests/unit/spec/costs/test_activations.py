"""What a step keeps: estimate and trainer agree which logits are computed in chunks."""

from importlib.metadata import PackageNotFoundError

import pytest

from app.spec.architectures import sizes_of
from app.spec.costs import activations
from app.spec.costs.activations import logits_in_chunks, saved_bytes
from app.spec.costs.chunks import LARGE_VOCABULARY
from app.spec.schema import MODEL_TYPES
from app.trainer.model.loss import can_chunk
from tests.support.training.models import built, spec_of


@pytest.mark.parametrize("vocabulary", [LARGE_VOCABULARY - 1, LARGE_VOCABULARY])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_is_estimated_is_what_the_trainer_does(model_type: str, vocabulary: int) -> None:
    spec = spec_of(model_type)
    sizes = sizes_of(model_type, spec.model.fields, vocabulary=vocabulary)
    estimated = logits_in_chunks(spec.model, sizes, spec.training, device="cpu")
    assert estimated == (vocabulary == LARGE_VOCABULARY and model_type != "gemma2")
    assert can_chunk(built(spec, vocabulary_size=vocabulary)) == estimated


def test_a_cap_that_the_spec_sets_counts() -> None:
    for model_type, cap, expected in (("gemma2", None, True), ("gemma3_text", 30.0, False)):
        spec = spec_of(model_type, final_logit_softcapping=cap)
        sizes = sizes_of(model_type, spec.model.fields, vocabulary=LARGE_VOCABULARY)
        assert logits_in_chunks(spec.model, sizes, spec.training, device="cpu") == expected
        assert can_chunk(built(spec, vocabulary_size=LARGE_VOCABULARY)) == expected


def test_on_a_gpu_and_in_16_bits_logits_are_whole() -> None:
    spec = spec_of("llama", training={"precision": "bf16"})
    sizes = sizes_of("llama", spec.model.fields, vocabulary=50_000)
    assert not logits_in_chunks(spec.model, sizes, spec.training, device="cpu")
    assert not logits_in_chunks(spec.model, sizes, spec_of().training, device="gpu")


@pytest.mark.parametrize("found", ["2.12.1", ""])
def test_an_older_pytorch_holds_all_logits(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    def version(_name: str) -> str:
        if not found:
            raise PackageNotFoundError
        return found

    spec = spec_of("llama")
    sizes = sizes_of("llama", spec.model.fields, vocabulary=50_000)
    few = saved_bytes(spec.model, sizes, spec.training, device="cpu")
    monkeypatch.setattr(activations, "version", version)
    activations._torch_can_chunk.cache_clear()
    try:
        many = saved_bytes(spec.model, sizes, spec.training, device="cpu")
    finally:
        activations._torch_can_chunk.cache_clear()
    assert many == few + 3 * 4 * 50_000
