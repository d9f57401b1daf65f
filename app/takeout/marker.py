"""The file in an exported folder that says that this app wrote it, and what belongs to it."""

import json
import os
from pathlib import Path
from typing import Any

from app import __version__
from app.common.paths import read_json

MARKER = "cotrain-export.json"
_FORMAT = "cotrain-export/1"
_MAX_BYTES = 2**20


def write_marker(folder: Path, *, run_id: str, epoch: int) -> int:
    """Write it as the last file, with all files on the disk; returns the bytes of all files.

    epoch: that the weights are of. Raises `OSError`.
    """
    sizes = {path.name: _synced(path) for path in sorted(folder.iterdir())}
    content = {
        "format": _FORMAT,
        "app": __version__,
        "run_id": run_id,
        "epoch": epoch,
        "files": sizes,
    }
    marker = folder / MARKER
    marker.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return sum(sizes.values()) + _synced(marker)


def _synced(path: Path) -> int:
    """Bring a file from memory to the disk; returns its size in bytes."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return os.fstat(stream.fileno()).st_size


def files_of(folder: Path) -> list[Path] | None:
    """The files of an exported folder; None if something in it isn't what this app wrote."""
    try:
        content: Any = read_json(folder / MARKER, most=_MAX_BYTES)
        found = {path.name: path.stat().st_size for path in folder.iterdir()}
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return None
    found.pop(MARKER)
    if content.get("files") != found:
        return None
    return [folder / MARKER, *(folder / name for name in found)]
