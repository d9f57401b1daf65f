"""Models as they are published: a config and safetensors files, as bytes."""

import json
import tempfile
from pathlib import Path
from typing import Any

from app.spec import schema as specs
from app.spec.schema import SwarmSpec
from app.trainer.pinned.downloads import Downloads
from tests.support.network.model_hub import COMMIT, sha256
from tests.support.training.models import built, spec_of

NO_DOWNLOADS = Downloads(cache=Path("/nowhere"))
"""For what needs none."""

SIZES = {"vocab_size": 256}
"""That a spec with weights must say as well."""


def published(model_type: str = "llama", *, seed: int = 7, **fields: Any) -> dict[str, bytes]:
    """The files of a tiny model of a type, as the library writes them."""
    spec = spec_of(model_type, training={"seed": seed}, **{**SIZES, **fields})
    model: Any = built(spec)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        names = ("config.json", "model.safetensors")
        return {name: Path(folder, name).read_bytes() for name in names}


def changed_config(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    config = json.loads(files["config.json"]) | changes
    return files | {"config.json": json.dumps(config).encode()}


def with_weights(
    pretrained: dict[str, Any],
    model_type: str = "llama",
    *,
    training: dict[str, Any] | None = None,
    **fields: Any,
) -> SwarmSpec:
    """A spec that begins with weights."""
    plain = spec_of(model_type, **{**SIZES, **fields}).to_json()
    params = plain["training_params"] | (training or {})
    return specs.parse(plain | {"pretrained": pretrained, "training_params": params})


def on_hub(name: str = "us/model") -> dict[str, Any]:
    return {"source": "hub", "name": name, "revision": COMMIT}


def behind(url: str, files: dict[str, bytes]) -> dict[str, Any]:
    listed = [
        {"url": f"{url}/{name}", "sha256": sha256(content)} for name, content in files.items()
    ]
    return {"source": "https", "files": listed}
