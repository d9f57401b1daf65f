"""Parameter counts and activations of previews, compared with the library's own models."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from app.spec import architectures
from app.spec import schema as spec
from app.spec.architectures import fields_for
from app.spec.costs import disk
from app.spec.costs.activations import saved_bytes as saved
from app.spec.families import FAMILIES
from app.spec.schema import MODEL_TYPES, SwarmSpec
from app.trainer import checkpoint
from app.trainer.data import tokenizer
from app.trainer.data.tokenizer import ByteTokens
from app.trainer.model import build
from app.trainer.model.loss import loss_of
from app.trainer.room import Room
from tests.support.training.specs import SMALLEST

SMALL = {"layers": 3, "width": 64, "heads": 4, "feed_forward": 200, "positions": 128}
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"n_inner": None}),
    ("llama", {"num_key_value_heads": 2}),
    ("llama", {"head_dim": 24, "vocab_size": 1000}),
    ("llama", {"mlp_bias": True, "attention_bias": True}),
    ("mistral", {"num_key_value_heads": 1}),
    ("olmo2", {"attention_bias": True, "num_key_value_heads": 2}),
    ("gpt_neox", {"attention_bias": False}),
    ("phi", {"qk_layernorm": True, "num_key_value_heads": 2}),
    ("opt", {"enable_bias": False}),
    ("opt", {"word_embed_proj_dim": 32}),
    ("opt", {"do_layer_norm_before": False}),
    ("opt", {"layer_norm_elementwise_affine": False}),
    ("qwen2", {"num_key_value_heads": 2}),
    ("qwen3", {"attention_bias": True, "head_dim": 24}),
]


def swarm(model_type: str, fields: dict[str, Any], **training: Any) -> SwarmSpec:
    params = {**SMALLEST["training_params"], **training}
    config = {"model_type": model_type, **fields}
    return spec.parse({**SMALLEST, "model_config": config, "training_params": params})


def check_count(model_type: str, fields: dict[str, Any]) -> None:
    real = build.parameter_count(swarm(model_type, fields), vocabulary_size=256)
    sizes = architectures.sizes_of(model_type, fields, vocabulary=256)
    assert architectures.parameter_count(model_type, fields, sizes) == real


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_parameters_are_counted_exactly(model_type: str) -> None:
    small = fields_for(model_type, **SMALL)
    check_count(model_type, {})  # the library's own sizes, billions in some
    check_count(model_type, small)
    check_count(model_type, {**small, "tie_word_embeddings": not FAMILIES[model_type].tied})


@pytest.mark.parametrize(("model_type", "change"), OTHERS)
def test_parameters_of_unusual_models_are_counted_exactly(
    model_type: str, change: dict[str, Any]
) -> None:
    check_count(model_type, fields_for(model_type, **SMALL) | change)


def test_common_names_of_sizes_are_accepted() -> None:
    check_count("gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2})


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_fields_for_sizes_build_a_working_model(model_type: str) -> None:
    found = swarm(model_type, fields_for(model_type, **SMALL), sequence_length=SMALL["positions"])
    build.build_model(found, vocabulary_size=256, room=Room(device=torch.device("cpu")))


# --- activations


def saved_bytes(found: SwarmSpec, *, half: bool) -> float:
    """What the backward pass of one step holds on to for each token, besides the weights."""
    built = build.build_model(found, vocabulary_size=256, room=Room(device=torch.device("cpu")))
    weights = {each.untyped_storage().data_ptr() for each in built.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor
        return tensor

    length = found.training.sequence_length
    tokens = torch.zeros(4, length + 1, dtype=torch.int64)
    context = torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), context:
        loss = loss_of(built, tokens)
    held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del loss
    copies = 2 * sum(each.numel() for each in built.parameters()) if half else 0
    return (held - copies) / (4 * length)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_activations_are_about_right(model_type: str, precision: str) -> None:
    fields = fields_for(model_type, layers=4, width=192, heads=4, feed_forward=512, positions=128)
    found = swarm(model_type, fields, sequence_length=128, precision=precision)
    sizes = architectures.sizes_of(model_type, fields, vocabulary=256)
    estimated = saved(found.model, sizes, found.training, device="cpu")
    estimated -= 2 * 4 * sizes.vocabulary  # the logits' gradients don't exist yet
    assert estimated == pytest.approx(saved_bytes(found, half=precision == "bf16"), rel=0.3)


# --- what the trainer decides


def test_constants_equal_the_trainers() -> None:
    assert disk.KEPT_CHECKPOINTS == checkpoint.KEPT
    assert tokenizer.MOST_BYTES == disk.MOST_TOKENIZER_BYTES
    assert ByteTokens.vocabulary_size == architectures.BYTES_VOCABULARY
