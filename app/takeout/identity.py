"""What makes a run this one and no other, and what decides which tensors its model has."""

import hashlib
import json
from typing import Any

from app.spec.schema import SwarmSpec


def fingerprint_of(spec: SwarmSpec) -> str:
    """A hash of all that decides which tensors a checkpoint has, and what they mean."""
    parts: dict[str, Any] = {
        "model": spec.model.model_dump(mode="json"),
        "tokenizer": spec.data.tokenizer.model_dump(mode="json"),
        "optimizer": spec.training.optimizer.name,
    }
    if spec.training.local_steps is not None:
        parts["strategy"] = spec.training.strategy
    if spec.pretrained is not None:
        parts["pretrained"] = spec.pretrained.model_dump(mode="json", exclude={"bytes"})
    if spec.training.adapters is not None:
        parts["adapters"] = spec.training.adapters.model_dump(mode="json", exclude={"dropout"})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source_of(source: dict[str, Any]) -> Any:
    """Files differ from peer to peer, and slots are filled by the time that a trainer sees them."""
    return "own" if source["source"] in ("files", "slot") else source


def identity_of(spec: SwarmSpec) -> str:
    """A hash of what makes a run this one and no other, whatever its settings: an invite of
    strangers with a known run id must neither resume nor delete what another swarm has learnt."""
    content = spec.to_json()
    data = content["dataset_info"]
    for part in data.get("parts", ()):
        part["data"] = _source_of(part["data"])
    parts = {
        "run": spec.run_id,
        "model": fingerprint_of(spec),
        "data": _source_of(data),
        "organiser": (content.get("organiser") or {}).get("key"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
