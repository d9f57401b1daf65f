"""Tiny models of each type, from specs."""

from pathlib import Path
from typing import Any

import torch

from app.spec import schema as specs
from app.spec.schema import SwarmSpec
from app.trainer.checkpoint import Checkpoint, CheckpointFolder
from app.trainer.model.adapters import state_of
from app.trainer.model.build import build_model
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
    "gemma2": COMMON | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": COMMON | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8},
    "qwen3_moe": COMMON
    | {
        "num_key_value_heads": 2,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    },
    "smollm3": COMMON | {"num_key_value_heads": 2},
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


def keep(folder: Path, spec: SwarmSpec, model: torch.nn.Module, *, epoch: int = 7) -> None:
    weights = {name: value.clone() for name, value in state_of(model).items()}
    CheckpointFolder(folder, spec).save(
        Checkpoint(epoch=epoch, position=0, model=weights, optimizer={})
    )
