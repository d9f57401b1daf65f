"""Adapters (LoRA): out as a folder of their own, and merged into the weights beside it."""

from pathlib import Path
from typing import Any

FOLDER = "adapter"
"""In the exported folder: what `peft.PeftModel.from_pretrained` puts on the base weights."""


def without_adapters(model: Any, folder: Path) -> Any:
    """Write the adapters of a model of `peft`, and return its own model with them merged in.

    Raises `OSError`.
    """
    # only the adapters: peft would ask the hub whether the embeddings have changed
    model.save_pretrained(folder / FOLDER, save_embedding_layers=False)
    (folder / FOLDER / "README.md").unlink(missing_ok=True)  # peft's, with nothing filled in
    return model.merge_and_unload()


def size_without_adapters(model: Any) -> int:
    """How many parameters a model has once its adapters are merged into them."""
    parameters = list(model.parameters())
    frozen = [each for each in parameters if not each.requires_grad]
    return sum(each.numel() for each in frozen or parameters)
